package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/api"
	"github.com/seed27495941/seckill/app/control"
	"github.com/seed27495941/seckill/app/identity"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/payment"
	"github.com/seed27495941/seckill/app/peer"
	"github.com/seed27495941/seckill/app/process"
	"github.com/seed27495941/seckill/app/sale"
	"github.com/seed27495941/seckill/app/sale/catalogue"
	"github.com/seed27495941/seckill/app/settings"
)

// handOver bounds how long a process that stops waits for others to take its slots.
const handOver = 5 * time.Second

// sell makes the process a node that buyers come to: it is listed, owns slots, and
// answers buyers and other nodes.
func (b *builder) sell(stop, abort context.Context) error {
	incarnation := ulid.Make()
	dial, err := peer.NewDialer(b.Settings.RPC.TLS)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	desk := sale.New(sale.Config{
		Store:       b.Store,
		Directory:   b.node.Directory(),
		Incarnation: incarnation,
		Valid:       b.node.Registered,
		Dial:        dial,
		Logger:      b.Log,
	})
	b.node.FollowConfig(func(c settings.Cluster) {
		desk.SetPayWithin(time.Duration(c.Payment.Deadline) * time.Second)
		desk.SetWaiting(c.Pools.Waiting)
	})
	if err := b.answerNodes(abort, incarnation, desk); err != nil {
		return err
	}
	goods := catalogue.New(b.Store, b.Log)
	if err := b.admit(stop, incarnation, desk, goods); err != nil {
		return err
	}
	if err := b.answerBuyers(abort, desk, goods); err != nil {
		return err
	}
	b.desk, b.own = desk, incarnation
	b.background = append(b.background, desk.Run, goods.Run)
	b.announced = append(b.announced, func(ctx context.Context) error {
		if goods.AwaitSynced(ctx) == nil {
			return b.announce(ctx, abort, desk)
		}
		return nil // it was told to stop before
	})
	return nil
}

// answerBuyers takes the address that buyers come to.
func (b *builder) answerBuyers(ctx context.Context, desk *sale.Desk, goods *catalogue.Catalogue) (err error) {
	b.ready = func() error { return b.readyToSell(goods) }
	config := api.Config{
		Version:   b.Version,
		Ready:     b.ready,
		Seller:    desk,
		Catalogue: goods,
		Gate:      b.gate,
		Log:       b.Log,
	}
	if file := b.Settings.Payment.SecretFile; file != "" {
		if config.Payments, err = payment.Open(file, b.Log); err != nil {
			return fmt.Errorf("payment.secret_file: %w", err)
		}
	}
	service := api.New(config)
	b.draining = append(b.draining, service.Drain)
	b.node.FollowConfig(func(c settings.Cluster) { service.SetStreams(c.Pools.Streams) })
	b.addresses.API, err = b.serve(ctx, "api", b.Settings.API, service)
	return err
}

// readyToSell says why buyers should not come, in words for them.
func (b *builder) readyToSell(goods *catalogue.Catalogue) error {
	if err := b.node.Ready(); err != nil {
		return err
	}
	if goods.Staleness() < 0 {
		return errors.New("starting: the events have not been read yet")
	}
	return b.gate.Ready()
}

// identity has the keys that buyers' tokens are signed with.
func (b *builder) identity() (*identity.Verifier, error) {
	s := b.Settings.Identity
	if s.KeysFile == "" {
		return nil, errors.New("identity.keys_file: expected the keys that buyers' tokens are signed with, a JWK Set: " +
			"say where with --identity-keys-file ('seckill keys new' makes one)")
	}
	verifier, err := identity.Open(identity.Config{KeysFile: s.KeysFile, Issuer: s.Issuer, Audience: s.Audience, Log: b.Log})
	if err != nil {
		return nil, fmt.Errorf("identity.keys_file: %w", err)
	}
	return verifier, nil
}

// answerNodes takes the address that other nodes ask questions at, and operators tell
// this one something.
func (b *builder) answerNodes(ctx context.Context, incarnation ulid.ULID, desk *sale.Desk) error {
	server, err := peer.NewServer(b.Settings.RPC.TLS)
	if err != nil {
		return fmt.Errorf("rpc: %w", err)
	}
	desk.Serve(server)
	control.Register(server, incarnation, b.node, b.sources)
	listener, err := b.listenRPC(ctx)
	if err != nil {
		return err
	}
	b.addresses.RPC = listener.Addr()
	b.background = append(b.background, func(ctx context.Context) error { return peer.Serve(ctx, server, listener) })
	if !settings.IsLoopback(listener.Addr().String()) && !b.Settings.RPC.TLS.Enabled() {
		b.Log.Warn("whoever reaches this address is believed to be a node: see rpc.tls", "rpc", listener.Addr().String())
	}
	return nil
}

// listenRPC takes an address that each process has to itself, because other nodes ask one
// process and no other. As long as the process before has it, that is another port of the same host.
func (b *builder) listenRPC(ctx context.Context) (net.Listener, error) {
	rpc := &b.Settings.RPC
	listener, err := process.Listen(ctx, "rpc", rpc.Bind, "--rpc-bind")
	if errors.Is(err, syscall.EADDRINUSE) && b.seat.Succeeds() {
		rpc.Bind = settings.WithPort(rpc.Bind, "0")
		listener, err = process.Listen(ctx, "rpc", rpc.Bind, "--rpc-bind")
		if err == nil && rpc.Advertise != "" {
			_, port, _ := net.SplitHostPort(listener.Addr().String()) // a listener's has one
			rpc.Advertise = settings.WithPort(rpc.Advertise, port)
		}
	}
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, listener)
	return listener, nil
}

// register says what others are told about the node, once all its addresses are taken.
func (b *builder) register() error {
	addr, err := b.Settings.API.Reachable(b.addresses.API, "--advertise")
	if err != nil {
		return err
	}
	rpc, err := b.rpcAddress(addr)
	if err != nil {
		return err
	}
	return b.node.Register(node.Listing{Addr: addr, RPC: rpc, Ops: b.opsAddress(), Incarnation: b.own, TTL: b.Settings.Node.TTL, Vacated: b.seat.Vacated()})
}

// opsAddress is where monitoring is told to look, "" if it can't be told: nothing else
// depends on it.
func (b *builder) opsAddress() string {
	address, err := b.Settings.Ops.Reachable(b.addresses.Ops, "--ops-advertise")
	if err != nil {
		b.Log.Warn("monitoring is not told where this node is", "because", err)
		return ""
	}
	return address
}

// rpcAddress is where other nodes are told to ask this one. If buyers come from
// other machines, other nodes may be there too.
func (b *builder) rpcAddress(addr string) (string, error) {
	rpc, err := b.Settings.RPC.Reachable(b.addresses.RPC, "--rpc-advertise")
	if err != nil {
		return "", err
	}
	if settings.IsLoopback(rpc) && !settings.IsLoopback(addr) {
		_, port, err := net.SplitHostPort(rpc)
		if err != nil {
			return "", err
		}
		return "", fmt.Errorf("buyers reach this node at %s, but nodes on other machines can't reach it at %s: "+
			"say with --rpc-bind where they can, as --rpc-bind=10.10.11.12:%s", addr, rpc, port)
	}
	return rpc, nil
}

// announce lists the node until ctx ends, and then until others have its slots: they
// would not get them from one that is gone. When abort ends it waits for nobody.
func (b *builder) announce(ctx, abort context.Context, desk *sale.Desk) error {
	select {
	case <-desk.Known():
	case <-ctx.Done():
		return nil
	}
	listed, leave := context.WithCancel(abort)
	var yielding sync.WaitGroup
	defer yielding.Wait()
	defer leave()
	yielding.Go(func() {
		defer leave()
		select {
		case <-ctx.Done():
		case <-listed.Done():
		}
		bounded, cancel := context.WithTimeout(listed, handOver)
		defer cancel()
		desk.Yield(bounded, b.seat.HandedOver())
	})
	return b.node.Announce(listed)
}
