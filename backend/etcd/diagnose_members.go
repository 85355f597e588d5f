package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/seed27495941/seckill/backend"
)

// provenMinor is the oldest 3.x that the conformance suite is run on.
const provenMinor = 6

// told are the visits that brought a status.
func (d *diagnosis) told() []visit {
	return slices.DeleteFunc(slices.Clone(d.visits), func(v visit) bool { return v.status == nil })
}

func untold() backend.Finding { return unseen("no endpoint tells its status") }

// version compares what the members run with what the driver is proven on.
func (d *diagnosis) version(context.Context) backend.Finding {
	var versions []string
	old := false
	for _, v := range d.told() {
		versions = append(versions, v.status.GetVersion())
		var major, minor int
		_, err := fmt.Sscanf(v.status.GetVersion(), "%d.%d", &major, &minor)
		old = old || err != nil || major < 3 || major == 3 && minor < provenMinor
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	switch {
	case len(versions) == 0:
		return untold()
	case old:
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found:   fmt.Sprintf("etcd %s; the driver is proven on 3.%d and later", strings.Join(versions, " and "), provenMinor),
			Remedy:  "Upgrade the members one by one, by one minor version at a time: https://etcd.io/docs/latest/upgrades/",
		}
	case len(versions) > 1:
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found:   fmt.Sprintf("the members run different versions: %s", strings.Join(versions, " and ")),
			Remedy:  "Finish the upgrade: the cluster does only what its oldest member can.",
		}
	}
	return fine("etcd %s", versions[0])
}

// members looks at who belongs to the cluster.
func (d *diagnosis) members(ctx context.Context) backend.Finding {
	var list *pb.MemberListResponse
	f := d.store.try(ctx, func(ctx context.Context) (err error) {
		list, err = pb.NewClusterClient(connection(d.store.client)).MemberList(ctx, &pb.MemberListRequest{}, callOptions...)
		return err
	})
	if f != nil {
		return unseen(d.reason(f.err))
	}
	voters := 0
	var learners []*pb.Member
	var addresses []string
	for _, m := range list.GetMembers() {
		addresses = append(addresses, m.GetClientURLs()...)
		if m.GetIsLearner() {
			learners = append(learners, m)
		} else {
			voters++
		}
	}
	found := fine("voting: %d, may fail: %d", voters, (voters-1)/2)
	switch {
	case len(learners) > 0:
		found.Verdict = backend.VerdictWarn
		found.Found += fmt.Sprintf("; %s is a learner, which takes no part in decisions", learners[0].GetName())
		found.Remedy = "When it has caught up:\n" + d.ctl("member promote", fmt.Sprintf("%x", learners[0].GetID()))
	case voters == 2:
		found.Verdict = backend.VerdictWarn
		found.Remedy = "Two members are less than one: either failing stops the store. Add a third:\n" +
			d.ctl("member add NAME --peer-urls=http://HOST:2380")
	case voters > 1 && len(d.visits) == 1:
		found.Verdict = backend.VerdictWarn
		found.Found += "; the only endpoint given is " + withoutUser(d.visits[0].endpoint)
		found.Remedy = "Unless that is a load balancer, nothing takes over when it fails. Give all:\n    --endpoints=" + strings.Join(addresses, ",")
	}
	return found
}

// leader compares whom the members take for their leader.
func (d *diagnosis) leader(context.Context) backend.Finding {
	var without []string
	leaders := map[uint64]bool{}
	visits := d.told()
	for _, v := range visits {
		if id := v.status.GetLeader(); id != 0 {
			leaders[id] = true
		} else {
			without = append(without, withoutUser(v.endpoint))
		}
	}
	remedy := "Members that are a majority must run and reach each other's peer port (2380). See which do:\n" +
		d.ctl("endpoint status --cluster -w table")
	switch {
	case len(visits) == 0:
		return untold()
	case len(leaders) == 0:
		return backend.Finding{Verdict: backend.VerdictFail, Found: "no member knows one", Remedy: remedy}
	case len(without) > 0:
		return backend.Finding{Verdict: backend.VerdictWarn, Found: "not known to " + strings.Join(without, ", "), Remedy: remedy}
	case len(leaders) > 1:
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found:   fmt.Sprintf("%d members are named: it is changing, or the endpoints are of different clusters", len(leaders)),
			Remedy:  remedy,
		}
	}
	return fine("one, for all that answer, in term %d", visits[0].status.GetRaftTerm())
}

// alarms looks for what makes the cluster refuse writes.
func (d *diagnosis) alarms(ctx context.Context) backend.Finding {
	var raised *pb.AlarmResponse
	f := d.store.try(ctx, func(ctx context.Context) (err error) {
		raised, err = pb.NewMaintenanceClient(connection(d.store.client)).Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET}, callOptions...)
		return err
	})
	if f != nil {
		return unseen(d.reason(f.err))
	}
	if len(raised.GetAlarms()) == 0 {
		return fine("none")
	}
	found := backend.Finding{Verdict: backend.VerdictFail}
	var names []string
	for _, a := range raised.GetAlarms() {
		names = append(names, fmt.Sprintf("%v at member %x", a.GetAlarm(), a.GetMemberID()))
		if a.GetAlarm() == pb.AlarmType_CORRUPT {
			found.Remedy = fmt.Sprintf("The data of member %x differs from the others'. Replace it: stop it, delete its data directory, and\n", a.GetMemberID()) +
				d.ctl("member remove", fmt.Sprintf("%x", a.GetMemberID())) + "\n" +
				d.ctl("member add NAME --peer-urls=http://HOST:2380") + "\n" +
				d.ctl("alarm disarm")
		}
	}
	found.Found = strings.Join(names, ", ")
	if found.Remedy == "" {
		found.Remedy = "Nothing is written until there is space and the alarm is off. Drop the history, give the space back, and go on:\n" +
			d.ctl("compaction --physical", d.revision()) + "\n" +
			d.ctl("defrag --cluster") + "\n" +
			d.ctl("alarm disarm") + "\n" +
			"So that it does not come back: see compaction, and --quota-backend-bytes of the servers."
	}
	return found
}
