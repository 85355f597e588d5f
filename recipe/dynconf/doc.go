// Package dynconf follows a configuration in one key of the store: every
// process that follows it sees a change at the same moment.
//
// Whoever can write the key can change the configuration, with the store's own
// tools too (etcdctl put, consul kv put). So a value is taken in whole or not
// at all: what can't be decoded or does not validate is refused, the last good
// value stays, and [Status] says what was refused, where and why. Deleting the
// key brings the defaults back.
package dynconf
