package boltstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed27495941/seckill/backend"
)

// The file has two buckets: the keys with their entries as JSON, and the leases
// with their TTLs. The sequence of the keys is the store's revision: it moves with
// the transaction, and deleting a key does not turn it back.
const (
	keysBucket   = "keys"
	leasesBucket = "leases"
)

// A txn is one transaction.
type txn struct {
	keys, leases *bbolt.Bucket
	done         backend.Update // what it changed
}

func within(tx *bbolt.Tx) *txn {
	return &txn{keys: tx.Bucket([]byte(keysBucket)), leases: tx.Bucket([]byte(leasesBucket))}
}

// get reads a key; an absent one has revision 0.
func (t *txn) get(key string) (backend.Entry, error) {
	data := t.keys.Get([]byte(key))
	if data == nil {
		return backend.Entry{Key: key}, nil
	}
	return decode(data)
}

// under reads the keys that start with a prefix.
func (t *txn) under(prefix string) ([]backend.Entry, error) {
	var found []backend.Entry
	c := t.keys.Cursor()
	for key, data := c.Seek([]byte(prefix)); key != nil && bytes.HasPrefix(key, []byte(prefix)); key, data = c.Next() {
		e, err := decode(data)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, nil
}

// decode copies what it returns: data is the file's memory, mapped, and only
// valid during the transaction.
func decode(data []byte) (e backend.Entry, err error) {
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fmt.Errorf("damaged entry: %w", err)
	}
	return e, nil
}

// check returns the error of the first condition that fails.
func (t *txn) check(conds []backend.Condition) error {
	for _, c := range conds {
		e, err := t.get(c.Key)
		if err != nil {
			return err
		}
		if e.Revision != c.Revision {
			return &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: e.Revision}
		}
	}
	return nil
}

// put writes an entry, at a new revision.
func (t *txn) put(e backend.Entry) error {
	if err := t.advance(); err != nil {
		return err
	}
	e.Revision = t.done.Revision
	t.done.Puts = append(t.done.Puts, e)
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return t.keys.Put([]byte(e.Key), data)
}

// remove deletes keys.
func (t *txn) remove(gone ...string) error {
	for _, key := range gone {
		if err := t.keys.Delete([]byte(key)); err != nil {
			return err
		}
	}
	t.done.Deletes = gone
	return t.advance()
}

func (t *txn) advance() error {
	revision, err := t.keys.NextSequence()
	t.done.Revision = backend.Revision(revision)
	return err
}

// grant keeps a lease.
func (t *txn) grant(id string, ttl time.Duration) error {
	return t.leases.Put([]byte(id), []byte(ttl.String()))
}

// granted returns ErrLeaseLost if there is no such lease.
func (t *txn) granted(id string) error {
	if t.leases.Get([]byte(id)) == nil {
		return fmt.Errorf("%w: the file has no lease %s", backend.ErrLeaseLost, id)
	}
	return nil
}

// revoke removes a lease and the keys that hang on it. It looks through all
// keys: a larger store would keep an index, in the same transaction.
func (t *txn) revoke(id string) error {
	if err := t.granted(id); err != nil {
		return err
	}
	entries, err := t.under("")
	if err != nil {
		return err
	}
	var gone []string
	for _, e := range entries {
		if e.Lease == id {
			gone = append(gone, e.Key)
		}
	}
	if err := t.leases.Delete([]byte(id)); err != nil {
		return err
	}
	return t.remove(gone...)
}
