package etcd

import (
	"testing"

	"github.com/stretchr/testify/assert"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/seed27495941/seckill/backend"
)

// What servers of other versions tell, which the tests don't have.
func TestWhatAStatusComesTo(t *testing.T) {
	look := func(check func(*diagnosis) backend.Finding, told ...*pb.StatusResponse) backend.Finding {
		d := &diagnosis{store: &Store{}}
		for _, status := range told {
			d.visits = append(d.visits, visit{endpoint: "a:2379", status: status})
		}
		return check(d)
	}
	version := func(d *diagnosis) backend.Finding { return d.version(t.Context()) }
	leader := func(d *diagnosis) backend.Finding { return d.leader(t.Context()) }
	quota := func(d *diagnosis) backend.Finding { return d.quota(t.Context()) }
	fragmentation := func(d *diagnosis) backend.Finding { return d.fragmentation(t.Context()) }

	for _, test := range []struct {
		check func(*diagnosis) backend.Finding
		told  []*pb.StatusResponse
		want  backend.Verdict
		found string
	}{
		{version, []*pb.StatusResponse{{Version: "3.6.0"}, {Version: "3.6.0"}}, backend.VerdictOK, "etcd 3.6.0"},
		{version, []*pb.StatusResponse{{Version: "3.10.1"}}, backend.VerdictOK, "etcd 3.10.1"},
		{version, []*pb.StatusResponse{{Version: "3.5.17"}}, backend.VerdictWarn, "etcd 3.5.17; the driver is proven on 3.6 and later"},
		{version, []*pb.StatusResponse{{Version: "odd"}}, backend.VerdictWarn, "etcd odd; the driver is proven on 3.6 and later"},
		{version, []*pb.StatusResponse{{Version: "3.7.3"}, {Version: "3.6.8"}}, backend.VerdictWarn, "the members run different versions: 3.6.8 and 3.7.3"},
		{version, nil, backend.VerdictUnknown, "not looked at: no endpoint tells its status"},

		{leader, []*pb.StatusResponse{{Leader: 7, RaftTerm: 3}, {Leader: 7, RaftTerm: 3}}, backend.VerdictOK, "one, for all that answer, in term 3"},
		{leader, []*pb.StatusResponse{{Leader: 7}, {}}, backend.VerdictWarn, "not known to a:2379"},
		{leader, []*pb.StatusResponse{{Leader: 7}, {Leader: 8}}, backend.VerdictWarn,
			"2 members are named: it is changing, or the endpoints are of different clusters"},
		{leader, []*pb.StatusResponse{{}, {}}, backend.VerdictFail, "no member knows one"},

		{quota, []*pb.StatusResponse{{DbSize: 20 << 20, DbSizeQuota: 100 << 20}, {DbSize: 90 << 20, DbSizeQuota: 100 << 20}},
			backend.VerdictWarn, "90.0 MiB of 100.0 MiB (90%)"},
		{quota, []*pb.StatusResponse{{DbSize: 1 << 30}}, backend.VerdictOK,
			"1.0 GiB of 2.0 GiB (50%), the default: servers before 3.6 don't tell theirs"},
		{quota, []*pb.StatusResponse{{DbSize: 1000, DbSizeQuota: -1}}, backend.VerdictOK, "1000 B, without a quota"},
		{fragmentation, []*pb.StatusResponse{{DbSize: 1 << 30, DbSizeInUse: 1 << 20, DbSizeQuota: -1}}, backend.VerdictOK, "1.0 MiB in use of 1.0 GiB"},
		{fragmentation, []*pb.StatusResponse{{DbSize: 1 << 30, DbSizeInUse: 1 << 20}}, backend.VerdictWarn,
			"1.0 MiB in use of 1.0 GiB: 50% of the quota holds nothing"},
	} {
		f := look(test.check, test.told...)
		assert.Equal(t, test.found, f.Found)
		assert.Equal(t, test.want, f.Verdict, f.Found)
		assert.Equal(t, f.Verdict == backend.VerdictWarn || f.Verdict == backend.VerdictFail, f.Remedy != "", f.Found)
	}
}
