package stores

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/conformance/servers"
)

type consulSpace struct {
	cluster *servers.Cluster
	root    string
	client  *api.Client
}

func openConsul(endpoints []string, root string) (opened, error) {
	return consul.Open(consul.Config{Endpoints: endpoints, Root: root})
}

func newConsul(t testing.TB, c *servers.Cluster) Space {
	t.Helper()
	cfg := api.DefaultNonPooledConfig()
	cfg.Address = c.Endpoints()[0]
	client, err := api.NewClient(cfg)
	must(t, err)
	return consulSpace{cluster: c, root: root(), client: client}
}

func (s consulSpace) Open(t testing.TB) backend.Store {
	t.Helper()
	store, err := openConsul(s.cluster.Endpoints(), s.root)
	must(t, err)
	closeLater(t, store)
	return store
}

func (s consulSpace) assignment() assignment {
	return assignment{Kind: string(s.cluster.Kind()), Endpoints: s.cluster.Endpoints(), Root: s.root}
}

func (s consulSpace) Put(t testing.TB, key, value string) {
	t.Helper()
	_, err := s.client.KV().Put(&api.KVPair{Key: s.root + key, Value: []byte(value)}, s.write(t))
	must(t, err)
}

func (s consulSpace) Delete(t testing.TB, key string) {
	t.Helper()
	_, err := s.client.KV().Delete(s.root+key, s.write(t))
	must(t, err)
}

func (s consulSpace) Revoke(t testing.TB, lease string) {
	t.Helper()
	_, err := s.client.Session().Destroy(lease, s.write(t))
	must(t, err)
}

func (s consulSpace) write(t testing.TB) *api.WriteOptions {
	return (&api.WriteOptions{}).WithContext(t.Context())
}
