package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// A write is what the transactions of one Put or Delete have in common.
type write struct {
	op    string
	key   string // as the caller named it
	conds []backend.Condition
}

// conditions are the operations that come first in each transaction, so that
// the index of a failed one is that of its condition, and so that they see the
// keys as they were before.
func (s *Store) conditions(conds []backend.Condition) api.TxnOps {
	ops := make(api.TxnOps, 0, len(conds)+2)
	for _, c := range conds {
		if c.Revision == 0 {
			ops = append(ops, s.kvOp(api.KVCheckNotExists, c.Key))
			continue
		}
		op := s.kvOp(api.KVCheckIndex, c.Key)
		op.KV.Index = uint64(c.Revision)
		ops = append(ops, op)
	}
	return ops
}

func (s *Store) kvOp(verb api.KVOp, key string) *api.TxnOp {
	return &api.TxnOp{KV: &api.KVTxnOp{Verb: verb, Key: s.root + key}}
}

// commit sends one transaction: the conditions, then ops. Either refused says
// why it was rolled back, or rev is the index of the last write in it, 0 if it
// wrote no key.
func (s *Store) commit(ctx context.Context, w write, ops ...*api.TxnOp) (rev backend.Revision, refused api.TxnErrors, err error) {
	if ctx.Err() != nil {
		return 0, nil, backend.Failure(ctx, backend.ErrUnavailable, w.op, w.key, nil)
	}
	sending, x := s.trace(ctx)
	all := append(s.conditions(w.conds), ops...)
	var answer api.TxnResponse
	// Not Client.Txn, which drops the HTTP status of a failure.
	_, err = s.client.Raw().Write("/v1/txn", all, &answer, (&api.WriteOptions{}).WithContext(sending))
	if refused := rolledBack(err); len(refused) > 0 {
		return 0, refused, nil
	}
	if err != nil {
		return 0, nil, writeFailure(ctx, x, w.op, w.key, err)
	}
	for _, result := range answer.Results {
		if result.KV != nil {
			rev = backend.Revision(result.KV.ModifyIndex)
		}
	}
	return rev, nil, nil
}

// rolledBack reads the answer of a transaction that was rolled back, which
// comes as a conflict.
func rolledBack(err error) api.TxnErrors {
	var status api.StatusError
	if !errors.As(err, &status) || status.Code != http.StatusConflict {
		return nil
	}
	var answer api.TxnResponse
	if json.Unmarshal([]byte(status.Body), &answer) != nil {
		return nil
	}
	return answer.Errors
}

// errRolledBack is the cause of what a transaction's own errors led to.
func errRolledBack(refused api.TxnErrors) error {
	return fmt.Errorf("the transaction was rolled back: %s", refused[0].What)
}
