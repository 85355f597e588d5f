package etcd

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/seed27495941/seckill/backend"
)

// Put implements backend.Store. The revision is etcd's own, of the whole
// store.
func (s *Store) Put(ctx context.Context, key string, value []byte, opts ...backend.PutOption) (backend.Revision, error) {
	o, err := backend.ResolvePut(key, value, opts...)
	if err != nil {
		return 0, err
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return 0, err
	}
	defer cancel()
	put := &pb.PutRequest{Key: s.physical(key), Value: value}
	if o.Lease == nil {
		// A put without a lease takes the key off the one it hung on.
		return s.put(ctx, key, put, o.Conditions)
	}
	lease, err := s.usable(ctx, key, o.Lease)
	if err != nil {
		return 0, err
	}
	put.Lease = lease.id
	rev, err := s.put(ctx, key, put, o.Conditions)
	lease.heed(err)
	return rev, err
}

func (s *Store) put(ctx context.Context, key string, put *pb.PutRequest, conds []backend.Condition) (rev backend.Revision, err error) {
	if len(conds) > 0 {
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}}
		return s.transact(ctx, "put", key, op, conds)
	}
	err = s.write(ctx, "put", key, func(ctx context.Context) error {
		resp, err := s.kv.Put(ctx, put, callOptions...)
		rev = backend.Revision(resp.GetHeader().GetRevision())
		return err
	})
	return rev, err
}

// Delete implements backend.Store.
func (s *Store) Delete(ctx context.Context, key string, conds ...backend.Condition) error {
	if err := backend.CheckDelete(key, conds); err != nil {
		return err
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	del := &pb.DeleteRangeRequest{Key: s.physical(key)}
	if len(conds) > 0 {
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}}
		_, err := s.transact(ctx, "delete", key, op, conds)
		return err
	}
	return s.write(ctx, "delete", key, func(ctx context.Context) error {
		_, err := s.kv.DeleteRange(ctx, del, callOptions...)
		return err
	})
}

// Get implements backend.Store.
func (s *Store) Get(ctx context.Context, key string) (backend.Entry, error) {
	none := backend.Entry{Key: key}
	if err := backend.CheckKey(key); err != nil {
		return none, err
	}
	ctx, cancel, err := s.life.Call(ctx, s.timeout)
	if err != nil {
		return none, err
	}
	defer cancel()
	var resp *pb.RangeResponse
	err = s.read(ctx, "get", key, func(ctx context.Context) (err error) {
		resp, err = s.kv.Range(ctx, &pb.RangeRequest{Key: s.physical(key)}, callOptions...)
		return err
	})
	if err != nil {
		return none, err
	}
	if len(resp.GetKvs()) == 0 {
		return none, backend.Failure(ctx, backend.ErrNotFound, "get", key, nil)
	}
	return entry(key, resp.GetKvs()[0]), nil
}

// transact makes a write that depends on conditions. If one fails the same
// transaction reads what all of them are about, so that the conflict can tell.
func (s *Store) transact(ctx context.Context, op, key string, then *pb.RequestOp, conds []backend.Condition) (backend.Revision, error) {
	txn := &pb.TxnRequest{Success: []*pb.RequestOp{then}}
	for _, c := range conds {
		txn.Compare = append(txn.Compare, s.compare(c))
		txn.Failure = append(txn.Failure, s.peek(c.Key))
	}
	var resp *pb.TxnResponse
	err := s.write(ctx, op, key, func(ctx context.Context) (err error) {
		resp, err = s.kv.Txn(ctx, txn, callOptions...)
		return err
	})
	if err != nil {
		return 0, err
	}
	if !resp.GetSucceeded() {
		return 0, conflict(conds, resp.GetResponses())
	}
	return backend.Revision(resp.GetHeader().GetRevision()), nil
}

// compare is a condition as etcd puts it: the revision of an absent key is 0
// there too.
func (s *Store) compare(c backend.Condition) *pb.Compare {
	return &pb.Compare{
		Key:         s.physical(c.Key),
		Target:      pb.Compare_MOD,
		Result:      pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_ModRevision{ModRevision: int64(c.Revision)},
	}
}

// peek reads the revision of a key within a transaction.
func (s *Store) peek(key string) *pb.RequestOp {
	read := &pb.RangeRequest{Key: s.physical(key), KeysOnly: true}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: read}}
}

// conflict names the first condition that did not hold.
func conflict(conds []backend.Condition, answers []*pb.ResponseOp) error {
	for i, c := range conds {
		if i >= len(answers) {
			break
		}
		var have backend.Revision
		if kvs := answers[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			have = backend.Revision(kvs[0].GetModRevision())
		}
		if have != c.Revision {
			return &backend.ConflictError{Key: c.Key, Want: c.Revision, Have: have}
		}
	}
	return &backend.ConflictError{Key: conds[0].Key, Want: conds[0].Revision}
}

// entry is a key-value pair of etcd under the caller's name of its key.
func entry(key string, kv *mvccpb.KeyValue) backend.Entry {
	e := backend.Entry{Key: key, Value: kv.GetValue(), Revision: backend.Revision(kv.GetModRevision())}
	if e.Value == nil {
		e.Value = []byte{}
	}
	if id := kv.GetLease(); id != 0 {
		e.Lease = leaseName(id)
	}
	return e
}

// leaseName is a lease's ID as etcdctl prints it.
func leaseName(id int64) string { return fmt.Sprintf("%016x", uint64(id)) }
