package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

const (
	provenMinor  = 21 // the oldest 1.x that the conformance suite is run on
	tokenEndsIn  = 7 * 24 * time.Hour
	textDisabled = "ACL support disabled"
	textNoToken  = "ACL not found"

	agentRule = "To see it, add to a policy of the token:\n    agent_prefix \"\" { policy = \"read\" }"
)

// credentials finds out whether Consul knows the token; what it may do is
// another question.
func (d *diagnosis) credentials(ctx context.Context) backend.Finding {
	var token api.ACLToken
	err := d.ask(ctx, "/v1/acl/token/self", &token)
	var status api.StatusError
	switch {
	case err == nil:
		return d.described(token)
	case errors.As(err, &status) && strings.Contains(status.Body, textDisabled):
		return fine("ACLs are off: whoever reaches Consul may do everything")
	case isDenied(err) && !d.store.identified() && strings.Contains(err.Error(), textNoToken):
		return d.anonymous(ctx)
	case isDenied(err):
		d.blocked = "the credentials are refused"
		return backend.Finding{Verdict: backend.VerdictFail, Found: d.reason(err)}
	}
	return unseen(d.reason(err))
}

// described says which token is in use: by its public name.
func (d *diagnosis) described(token api.ACLToken) backend.Finding {
	f := fine("the token with the accessor %s", token.AccessorID)
	if !d.store.identified() {
		f.Found = "none is given; the agent uses its default token, " + token.AccessorID
	}
	var names []string
	for _, p := range token.Policies {
		names = append(names, p.Name)
	}
	if len(names) > 0 {
		f.Found += ", policies " + strings.Join(names, ", ")
	}
	if token.ExpirationTime == nil {
		return f
	}
	f.Found += ", ends at " + token.ExpirationTime.Format(time.RFC3339)
	if time.Until(*token.ExpirationTime) < tokenEndsIn {
		f.Verdict = backend.VerdictWarn
		f.Remedy = "Make a new one; a token in a file is read again when that changes:\n" +
			d.cli("acl token clone -accessor-id "+token.AccessorID)
	}
	return f
}

// anonymous is the finding of a store without a token where ACLs are on. Unless
// Consul is told otherwise, such a client does not learn that keys were left
// out of a list.
func (d *diagnosis) anonymous(ctx context.Context) backend.Finding {
	_, meta, err := d.store.client.KV().Keys(readablePart(d.store.root), "", (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case isDenied(err):
		return fine("no token is given; ACLs are on, and lists are refused openly")
	case err != nil:
		return unseen(d.reason(err))
	case meta.DefaultACLPolicy == "allow":
		return fine("no token is given; ACLs are on, and allow what they don't deny")
	}
	return backend.Finding{
		Verdict: backend.VerdictWarn,
		Found:   "no token is given, and ACLs are on: keys that the anonymous token may not read are missing from lists, and nothing says so",
		Remedy:  "Give the store a token, or have Consul refuse such lists, in the configuration of its servers:\n    acl { enable_key_list_policy = true }",
	}
}

// An agent is what is of interest in /v1/agent/self.
type agent struct {
	Config struct {
		Version string
		Server  bool
	}
	DebugConfig struct{ HTTPMaxConnsPerClient int }
}

func (d *diagnosis) self(ctx context.Context) (a agent, err error) {
	err = d.ask(ctx, "/v1/agent/self", &a)
	return a, err
}

// undisclosed is the finding of a check that takes agent "read".
func (d *diagnosis) undisclosed(err error) backend.Finding {
	f := unseen(d.reason(err))
	if isDenied(err) {
		f = unseen("the token may not look at the agent")
		f.Remedy = agentRule
	}
	return f
}

// version compares what the servers run, and the agent in use, with what the
// driver is proven on.
func (d *diagnosis) version(ctx context.Context) backend.Finding {
	self, err := d.self(ctx)
	if err != nil {
		return d.undisclosed(err)
	}
	versions := []string{self.Config.Version}
	var members []*api.AgentMember
	if err := d.ask(ctx, "/v1/agent/members", &members); err == nil {
		for _, m := range members { // none if the token may not see nodes
			if build, _, _ := strings.Cut(m.Tags["build"], ":"); m.Tags["role"] == "consul" && build != "" {
				versions = append(versions, build)
			}
		}
	}
	slices.Sort(versions)
	versions = slices.Compact(versions)
	all := strings.Join(versions, " and ")
	switch {
	case slices.ContainsFunc(versions, unproven):
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found:   fmt.Sprintf("Consul %s; the driver is proven on 1.%d and later", all, provenMinor),
			Remedy:  "Upgrade, servers first: https://developer.hashicorp.com/consul/docs/upgrade",
		}
	case len(versions) > 1:
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found:   "agent and servers run different versions: " + all,
			Remedy:  "Finish the upgrade, servers first.",
		}
	}
	return fine("Consul %s", all)
}

func unproven(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err != nil || major < 1 || major == 1 && minor < provenMinor
}

// members counts the servers.
func (d *diagnosis) members(ctx context.Context) backend.Finding {
	var peers []string
	if err := d.ask(ctx, "/v1/status/peers", &peers); err != nil {
		return unseen(d.reason(err))
	}
	f := fine("servers: %d, may fail: %d", len(peers), (len(peers)-1)/2)
	switch len(peers) {
	case 0:
		f = unseen("no server is named")
	case 2:
		f.Verdict = backend.VerdictWarn
		f.Remedy = "Two servers are less than one: either failing stops the store. Start a third with\n    retry_join = [\"" + host(peers[0]) + "\"]"
	}
	return f
}

func host(address string) string { return address[:max(strings.LastIndex(address, ":"), 0)] }

// leader compares what the endpoints say.
func (d *diagnosis) leader(context.Context) backend.Finding {
	var leaders, without []string
	for _, v := range d.visits {
		switch {
		case !v.answered():
		case v.leader == "":
			without = append(without, v.endpoint)
		default:
			leaders = append(leaders, v.leader)
		}
	}
	slices.Sort(leaders)
	leaders = slices.Compact(leaders)
	remedy := "Servers that are a majority must run and reach each other's port 8300. See which do:\n" + d.cli("operator raft list-peers -stale")
	switch {
	case len(leaders) == 0:
		return backend.Finding{Verdict: backend.VerdictFail, Found: "no endpoint knows one", Remedy: remedy}
	case len(without) > 0:
		return backend.Finding{Verdict: backend.VerdictWarn, Found: "not known to " + strings.Join(without, ", "), Remedy: remedy}
	case len(leaders) > 1:
		return backend.Finding{
			Verdict: backend.VerdictWarn,
			Found: fmt.Sprintf("%d servers are named: %s. It is changing, or the endpoints are of different clusters",
				len(leaders), strings.Join(leaders, ", ")),
			Remedy: remedy,
		}
	}
	return fine("%s, for all that answer", leaders[0])
}

// tooLong is a TTL that Consul refuses, and tells its limits.
const tooLong = 1000 * time.Hour

// sessions tells the limits of leases, which are sessions.
func (d *diagnosis) sessions(ctx context.Context) backend.Finding {
	id, _, err := d.store.createSession(ctx, tooLong)
	if err == nil {
		if err := d.store.destroy(ctx, id); err != nil {
			return unseen(err.Error())
		}
		return fine("a TTL of %v is taken", tooLong)
	}
	low, high, ok := ttlLimits(err)
	if !ok {
		if errors.Is(err, backend.ErrDenied) {
			return unseen("the token may not create sessions")
		}
		return unseen(d.reason(err))
	}
	return fine("a TTL may be %v to %v; one that is not renewed ends after once to twice as long, after a change of the leader a little later; lock-delay is %v", low, high, lockDelay)
}

// connections compares what the driver may need with what the agent allows one
// client address, on which all processes of a machine count together.
func (d *diagnosis) connections(ctx context.Context) backend.Finding {
	self, err := d.self(ctx)
	if err != nil {
		return d.undisclosed(err)
	}
	const most = MaxFollowed + maxCalls
	limit := self.DebugConfig.HTTPMaxConnsPerClient
	if limit <= 0 {
		return fine("a client address may have any number; a process uses at most %d", most)
	}
	f := fine("a client address may have %d; a process uses one for each prefix it watches and at most %d", limit, most)
	if limit < most {
		f.Verdict = backend.VerdictWarn
		f.Remedy = fmt.Sprintf("In the configuration of the agent, for each process that shares the address:\n    limits { http_max_conns_per_client = %d }", most)
	}
	return f
}
