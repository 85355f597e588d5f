package rpc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/recipe/balance"
)

// Register makes the policies of package balance known to gRPC, under the names
// of [BalancerName]. gRPC keeps balancers in a table of the whole program that
// is not safe for concurrent use: a program calls this once, before it makes its
// first client.
func Register() {
	for _, p := range balance.Policies() {
		balancer.Register(policy(p))
	}
}

// BalancerName is a policy's name for gRPC's service configs.
func BalancerName(p balance.Policy) string { return Scheme + "_" + string(p) }

// policy builds balancers.
type policy balance.Policy

func (p policy) Name() string { return BalancerName(balance.Policy(p)) }

// Build leaves the connections to gRPC's own parts, one pick_first for each
// endpoint, and chooses among those that are ready.
func (p policy) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	picker, err := balance.NewPicker(balance.Policy(p))
	if err != nil {
		panic(err) // Register names only those that there are
	}
	return connections{endpointsharding.NewBalancer(&chooser{cc, picker}, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})}
}

type connections struct{ balancer.Balancer }

// UpdateClientConnState has the service's health checked by those clients whose
// service config asks for it.
func (c connections) UpdateClientConnState(s balancer.ClientConnState) error {
	return c.Balancer.UpdateClientConnState(balancer.ClientConnState{
		ResolverState: pickfirst.EnableHealthListener(s.ResolverState),
	})
}

// A chooser stands between the connections and gRPC and puts in its own choice.
type chooser struct {
	balancer.ClientConn
	picker *balance.Picker
}

// UpdateState is called with each change of a connection, one call at a time.
func (c *chooser) UpdateState(s balancer.State) {
	if s.ConnectivityState == connectivity.Ready {
		s.Picker = c.pickerOf(endpointsharding.ChildStatesFromPicker(s.Picker))
	}
	c.ClientConn.UpdateState(s)
}

func (c *chooser) pickerOf(children []endpointsharding.ChildState) balancer.Picker {
	p := &picker{choose: c.picker, ready: make(map[key]balancer.Picker, len(children))}
	var endpoints []balance.Endpoint
	for _, child := range children {
		e, ok := child.Endpoint.Attributes.Value(endpointKey{}).(balance.Endpoint)
		if !ok || child.State.ConnectivityState != connectivity.Ready {
			continue
		}
		endpoints = append(endpoints, e)
		p.ready[keyOf(e)] = child.State.Picker
	}
	slices.SortFunc(endpoints, func(a, b balance.Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	c.picker.Update(endpoints)
	return p
}

// key tells endpoints apart whatever their weights.
type key struct{ id, incarnation, addr string }

func keyOf(e balance.Endpoint) key { return key{e.ID, e.Incarnation, e.Addr} }

// A picker chooses among the connections that were ready when it was made.
type picker struct {
	choose *balance.Picker // shared with the pickers before and after
	ready  map[key]balancer.Picker
}

func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	e, done, err := p.choose.Pick()
	if err != nil {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable // the next picker is under way
	}
	child, ok := p.ready[keyOf(e)]
	if !ok {
		done(balance.Result{Outcome: balance.Unsent})
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	result, err := child.Pick(info)
	if err != nil {
		done(balance.Result{Outcome: balance.Unsent})
		return result, err
	}
	theirs := result.Done
	result.Done = func(info balancer.DoneInfo) {
		done(balance.Result{Outcome: outcome(info)})
		if theirs != nil {
			theirs(info)
		}
	}
	return result, nil
}

// outcome tells what the end of an RPC says of the node: an application's refusal
// is an answer. gRPC also says that an RPC is over when the connection was lost
// between the choice and the use; then nothing was sent and there is no error.
func outcome(info balancer.DoneInfo) balance.Outcome {
	if info.Err == nil && !info.BytesSent {
		return balance.Unsent
	}
	if errors.Is(info.Err, context.Canceled) || errors.Is(info.Err, context.DeadlineExceeded) {
		return balance.Abandoned
	}
	switch status.Code(info.Err) {
	case codes.Canceled, codes.DeadlineExceeded:
		return balance.Abandoned
	case codes.Unavailable, codes.ResourceExhausted, codes.Internal, codes.DataLoss:
		return balance.Failed
	}
	return balance.Answered
}
