package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// lockDelay is that of our sessions: the least that the client can send and
// Consul takes, since it makes 15s of 0. When a lock is refused because of it,
// one short pause is enough; the pauses grow for the sake of other people's
// sessions, which may have any delay.
const (
	lockDelay       = time.Millisecond
	lockDelayPause  = 2 * time.Millisecond
	lockDelayPauses = 100 * time.Millisecond // at most
)

// Put implements [backend.Store].
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	held, err := s.own(o.Lease)
	if err != nil {
		return 0, err
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return 0, err
	}
	defer cancel()

	w := write{op: "put", key: key, conds: o.Conditions}
	var rev backend.Revision
	if held == nil {
		rev, err = s.putFree(ctx, w, value)
	} else {
		rev, err = s.putLeased(ctx, w, value, held)
	}
	if err == nil && rev == 0 {
		err = backend.Failure(ctx, backend.ErrUnknown, w.op, key, errors.New("written, but the answer lacks the index: has the token the right to read?"))
	}
	return rev, err
}

// putFree writes a key that is to hang on no lease. A plain set would leave a
// held key to its session; to free it, it must be deleted and made anew. That
// would leave a tombstone at each Put, so it is done only where the
// transaction's check finds the key held: the common Put is one round trip
// without a tombstone, that of a held key is two.
func (s *Store) putFree(ctx context.Context, w write, value []byte) (backend.Revision, error) {
	set := s.setOp(api.KVSet, w.key, value)
	free := s.kvOp(api.KVCheckSession, w.key) // of the session ""
	rev, refused, err := s.commit(ctx, w, set, free)
	if err == nil && has(refused, textHeld) && w.conflict(refused) == nil {
		rev, refused, err = s.commit(ctx, w, s.kvOp(api.KVDelete, w.key), set)
	}
	if err == nil && len(refused) > 0 {
		err = w.refusal(ctx, refused)
	}
	return rev, err
}

// putLeased hangs a key on a lease. Deleting it first takes it off any other:
// Consul gives a held key to nobody else.
func (s *Store) putLeased(ctx context.Context, w write, value []byte, held *lease) (backend.Revision, error) {
	lock := s.setOp(api.KVLock, w.key, value)
	lock.KV.Session = held.ID()
	for pause := lockDelayPause; ; pause = min(2*pause, lockDelayPauses) {
		if !held.Valid() {
			return 0, backend.Failure(ctx, backend.ErrLeaseLost, w.op, w.key, held.Err())
		}
		rev, refused, err := s.commit(ctx, w, s.kvOp(api.KVDelete, w.key), lock)
		switch {
		case err != nil:
			return 0, err
		case len(refused) == 0:
			return rev, nil
		case !has(refused, textLockDelay) || has(refused, textDenied) || w.conflict(refused) != nil:
			err := w.refusal(ctx, refused)
			if errors.Is(err, backend.ErrLeaseLost) {
				held.Lose(errRolledBack(refused))
			}
			return 0, err
		}
		// The key's last lease has just ended. Nothing was written, and
		// what else there is to say about this write, a dead session
		// included, comes out when the delay is over.
		if !sleep(ctx, pause) {
			return 0, backend.Failure(ctx, backend.ErrUnavailable, w.op, w.key, errRolledBack(refused))
		}
	}
}

// setOp writes a key with a fresh number in its flags: without it a set of the
// value that the key has would be no write, and make no index.
func (s *Store) setOp(verb api.KVOp, key string, value []byte) *api.TxnOp {
	op := s.kvOp(verb, key)
	op.KV.Value = value
	op.KV.Flags = rand.Uint64()
	return op
}

// Delete implements [backend.Store].
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	w := write{op: "delete", key: key, conds: conds}
	_, refused, err := s.commit(ctx, w, s.kvOp(api.KVDelete, key))
	if err == nil && len(refused) > 0 {
		err = w.refusal(ctx, refused)
	}
	return err
}
