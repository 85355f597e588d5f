package consul

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// Get implements [backend.Store].
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
	pair, err := s.read(ctx, s.root+key)
	switch {
	case err != nil:
		return none, readFailure(ctx, "get", key, err)
	case pair == nil:
		return none, backend.Failure(ctx, backend.ErrNotFound, "get", key, nil)
	default:
		return s.entry(pair), nil
	}
}

func (s *Store) read(ctx context.Context, physical string) (*api.KVPair, error) {
	q := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	if !readable(physical) {
		return s.readInTxn(physical, q)
	}
	pair, meta, err := s.client.KV().Get(physical, q)
	if err == nil && pair == nil && meta.LastIndex == 0 {
		return nil, errNotConsul
	}
	return pair, err
}

// errNotConsul is why a 404 is no proof that a key is absent.
var errNotConsul = errors.New("the answer has no X-Consul-Index: is this Consul?")

// readInTxn reads a key that Consul takes in transactions only.
func (s *Store) readInTxn(physical string, q *api.QueryOptions) (*api.KVPair, error) {
	ok, answer, _, err := s.client.Txn().Txn(api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVGetOrEmpty, Key: physical}}}, q)
	switch {
	case err != nil && containsAny(err.Error(), []string{textDenied, textNoToken}):
		return nil, api.StatusError{Code: 403, Body: err.Error()} // the client drops the status
	case err != nil:
		return nil, err
	case !ok && len(answer.Errors) > 0:
		return nil, errRolledBack(answer.Errors)
	case !ok || len(answer.Results) == 0:
		// What the token may not read is left out of the results.
		return nil, api.StatusError{Code: 403, Body: textDenied}
	case answer.Results[0].KV.ModifyIndex == 0:
		return nil, nil //nolint:nilnil // as KV.Get says that a key is absent
	default:
		return answer.Results[0].KV, nil
	}
}

// readable reports whether Consul's /v1/kv takes a key or a prefix as it is.
// Since 1.22 it refuses white space around a key, and a percent sign that could
// hide some, though a transaction writes such keys.
func readable(physical string) bool {
	if strings.TrimSpace(physical) != physical {
		return false
	}
	decoded, err := url.PathUnescape(physical)
	return err != nil || decoded == physical ||
		!strings.Contains(decoded, "..") && !strings.Contains(decoded, " ")
}

// entry is a pair as the caller sees it.
func (s *Store) entry(pair *api.KVPair) backend.Entry {
	value := pair.Value
	if value == nil {
		value = []byte{} // Consul does not tell the empty value from none
	}
	return backend.Entry{
		Key:      strings.TrimPrefix(pair.Key, s.root),
		Value:    value,
		Revision: backend.Revision(pair.ModifyIndex),
		Lease:    pair.Session,
	}
}
