package stores

import (
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/etcd"
	"github.com/seed27495941/seckill/conformance/servers"
)

type etcdSpace struct {
	cluster *servers.Cluster
	root    string
	client  *clientv3.Client
}

func openEtcd(endpoints []string, root string) (opened, error) {
	return etcd.Open(etcd.Config{Endpoints: endpoints, Root: root})
}

func newEtcd(t testing.TB, c *servers.Cluster) Space {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints()})
	must(t, err)
	closeLater(t, client)
	return etcdSpace{cluster: c, root: root(), client: client}
}

func (s etcdSpace) Open(t testing.TB) backend.Store {
	t.Helper()
	store, err := openEtcd(s.cluster.Endpoints(), s.root)
	must(t, err)
	closeLater(t, store)
	return store
}

func (s etcdSpace) assignment() assignment {
	return assignment{Kind: string(s.cluster.Kind()), Endpoints: s.cluster.Endpoints(), Root: s.root}
}

func (s etcdSpace) Put(t testing.TB, key, value string) {
	t.Helper()
	_, err := s.client.Put(t.Context(), "/"+s.root+key, value)
	must(t, err)
}

func (s etcdSpace) Delete(t testing.TB, key string) {
	t.Helper()
	_, err := s.client.Delete(t.Context(), "/"+s.root+key)
	must(t, err)
}

// Revoke takes the ID as etcdctl prints it: hexadecimal.
func (s etcdSpace) Revoke(t testing.TB, lease string) {
	t.Helper()
	id, err := strconv.ParseInt(lease, 16, 64)
	must(t, err)
	_, err = s.client.Revoke(t.Context(), clientv3.LeaseID(id))
	must(t, err)
}
