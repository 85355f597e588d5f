package dynconf

import (
	"reflect"
	"slices"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// settle makes the best of what the layers and the rollout have become. The
// caller holds changing, as for all of these.
func (c *Config[T]) settle() {
	if !c.isHeard() {
		return
	}
	c.judgePublished()
	c.judgeTrial()
	c.choose()
	select {
	case <-c.synced:
	default:
		close(c.synced)
	}
}

// judgePublished finds out what is to be in force here when no rollout says
// otherwise: what is published, or the last good one if that is bad.
func (c *Config[T]) judgePublished() {
	own := c.own()
	raw, err := c.overlay(own.entry)
	if err == nil {
		err = own.hidden
	}
	if err == nil && raw == nil {
		c.setRefusal(nil)
		c.published = candidate[T]{value: c.defaults, source: FromDefaults}
		return
	}
	hash := Hash(raw)
	if err != nil {
		hash = c.hashOfLayers()
	}
	if c.isJudged(own.entry.Revision, hash) {
		return
	}
	var value T
	if err == nil {
		value, err = c.read(raw)
	}
	if err != nil {
		c.refuse(Refusal{Revision: own.entry.Revision, Hash: hash, Error: err.Error(), At: time.Now()})
		return
	}
	c.setRefusal(nil)
	c.published = candidate[T]{value: value, source: FromStore, revision: own.entry.Revision, hash: hash}
}

// isJudged reports whether a published value was found good or bad before: a
// watch that was begun again says again how things are.
func (c *Config[T]) isJudged(rev backend.Revision, hash string) bool {
	if refusal := c.Status().Refusal; refusal != nil {
		return refusal.Revision == rev && refusal.Hash == hash
	}
	return c.published.source == FromStore && c.published.revision == rev && c.published.hash == hash
}

// hashOfLayers names values that can't be merged.
func (c *Config[T]) hashOfLayers() string {
	var all []byte
	for i, l := range c.layers {
		if i > 0 {
			all = append(all, '\n')
		}
		all = append(all, l.entry.Value...)
	}
	return Hash(all)
}

// judgeTrial finds out whether the node is on trial, and with what. A value that
// can't be used here is a failure of the trial.
func (c *Config[T]) judgeTrial() {
	before := c.trial
	c.trial = nil
	r, failure := c.rollout, c.Status().Failure
	if r == nil || r.State != Trial {
		if failure != nil && failure.Rollout != "" {
			c.setFailure(nil)
		}
		return
	}
	if failure != nil && failure.Rollout == r.ID {
		return
	}
	c.setFailure(nil)
	if !r.Selects(c.node) {
		return
	}
	if why, failed := r.Failures[c.node.ID]; failed { // before this process began
		c.setFailure(&Failure{Rollout: r.ID, Error: why, At: time.Now()})
		return
	}
	raw, err := c.overlay(backend.Entry{Key: RolloutKey(c.key), Value: []byte(r.Value), Revision: 1})
	hash := Hash(raw)
	if err == nil && before != nil && before.rollout == r.ID && before.hash == hash {
		c.trial = before
		return
	}
	var value T
	if err == nil {
		value, err = c.read(raw)
	}
	if err != nil {
		c.fail(Failure{Rollout: r.ID, Error: err.Error(), At: time.Now()})
		return
	}
	c.trial = &candidate[T]{value: value, source: FromRollout, rollout: r.ID, hash: hash}
}

// choose puts the trial's value in force if there is one, else what is
// published, and tells everybody.
func (c *Config[T]) choose() {
	next := c.published
	if c.trial != nil {
		next = *c.trial
	}
	if old := c.Load(); !c.inForce.is(next) || next.source == FromDefaults && !reflect.DeepEqual(old, next.value) {
		c.putInForce(next)
		c.tell(old, next.value)
	}
	c.tellReport()
}

func (c *Config[T]) putInForce(next candidate[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.status
	s.Source, s.Revision, s.Rollout, s.Hash, s.Since = next.source, next.revision, next.rollout, next.hash, time.Now()
	switch next.source {
	case FromStore:
		s.Applied++
		c.log.Info("configuration applied", "revision", uint64(next.revision), "hash", next.hash)
	case FromRollout:
		s.Applied++
		c.log.Info("configuration applied on trial", "rollout", next.rollout, "hash", next.hash)
	case FromDefaults:
		c.log.Warn("no configuration is published, defaults apply")
	}
	c.inForce = next
	c.current.Store(&next.value)
}

// tell tells the subscribers of a value in force, if it is another than before.
func (c *Config[T]) tell(old, value T) {
	if reflect.DeepEqual(old, value) {
		return
	}
	c.mu.Lock()
	subscribers := slices.Clone(c.subscribers)
	c.mu.Unlock()
	for _, f := range subscribers {
		f(old, value)
	}
}

// tellReport tells how things stand if that is another than before.
func (c *Config[T]) tellReport() {
	if !c.isHeard() {
		return
	}
	now := c.Status().report()
	if now == c.reported {
		return
	}
	c.reported = now
	if c.report != nil {
		c.report(now)
	}
}
