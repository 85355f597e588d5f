// Package etcd is the driver for etcd 3.4 and later (3.5.8 and later tell a
// watch's progress correctly).
//
// # Keys
//
// A key K is stored as "/" + Root + K, so that keys are what people type:
//
//	etcdctl put /seckill/config '{"logLevel":"info"}'
//
// Keys and values of others that break the contract's rules, and are met under
// a watched prefix, are left out and counted: see [Store.ForeignKeys].
//
// # What the store must allow
//
// Put and Delete need write permission for their key and read permission for
// the keys of their conditions, Get and WatchPrefix read permission. A watch
// checks every few seconds whether it still may read, because etcd itself
// checks only when a watch is created. A password that is changed at the
// server and half a minute later in its file costs calls, but no watch.
//
// # Sent or not
//
// gRPC answers a call that met a dead server and one whose reply was lost with
// the same DeadlineExceeded. The driver listens to the transport
// ([TrackSends]) and so knows whether a request ever left: if not, the error
// is backend.ErrUnavailable and the write was certainly not applied, else it
// is backend.ErrUnknown.
package etcd
