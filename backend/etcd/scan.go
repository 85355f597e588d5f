package etcd

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
)

// The number of keys of a page goes up or down so that a page has about as
// many bytes: neither does a store of large values answer with hundreds of
// megabytes at once, nor does one of small values need hundreds of pages.
const (
	pageFirst = 256       // keys
	pageMost  = 16 << 10  // keys
	pageBytes = 512 << 10 // a page with fewer bytes may be doubled
)

// A scan reads the keys under a prefix page by page at one revision, that of
// the first page. If that is compacted meanwhile the scan fails.
type scan struct {
	from, end []byte
	limit     int64
	header    *pb.ResponseHeader // of the first page
	done      bool
}

func newScan(prefix []byte) *scan {
	return &scan{from: prefix, end: rangeEnd(prefix), limit: pageFirst}
}

// request asks for the next page. All pages are linearizable reads: a
// serializable one might be answered by a member that has not got the
// revision yet.
func (s *scan) request() *pb.RangeRequest {
	return &pb.RangeRequest{
		Key:      s.from,
		RangeEnd: s.end,
		Limit:    s.limit,
		Revision: s.header.GetRevision(),
	}
}

// take goes on behind a page.
func (s *scan) take(page *pb.RangeResponse) {
	if s.header == nil {
		s.header = page.GetHeader()
	}
	kvs := page.GetKvs()
	if !page.GetMore() || len(kvs) == 0 {
		s.done = true
		return
	}
	s.from = append(bytes.Clone(kvs[len(kvs)-1].GetKey()), 0)
	size := 0
	for _, kv := range kvs {
		size += len(kv.GetKey()) + len(kv.GetValue())
	}
	switch {
	case size < pageBytes:
		s.limit = min(s.limit*2, pageMost)
	case size > 4*pageBytes:
		s.limit = max(s.limit/4, 1)
	}
}

// rangeEnd is the first key behind all that start with prefix. Physical
// prefixes start with a slash, so there always is one.
func rangeEnd(prefix []byte) []byte {
	return []byte(clientv3.GetPrefixRangeEnd(string(prefix)))
}

// admit returns the caller's name of a key, or "" for a foreign one, which is
// counted.
func (s *Store) admit(kv *mvccpb.KeyValue) string {
	key := s.logical(kv.GetKey())
	if key == "" || len(kv.GetValue()) > backend.MaxValue {
		s.foreign.Add(1)
		return ""
	}
	return key
}
