package conformance

import (
	"context"
	"time"

	"github.com/seed27495941/seckill/backend"
)

// A Store is what drivers open.
type Store interface {
	backend.Store
	Close() error
}

// A Harness is one empty namespace of a real store. What it holds is released
// by the Cleanup of the test it was made for. It is used by one case.
type Harness interface {
	// Describe says what is tested, for the report.
	Describe() Info

	// Open opens a store on the namespace, with connections of its own, as
	// another process would. The suite closes it.
	Open() (Store, error)

	// Lacks declares the powers this harness has not, each with the reason.
	Lacks() map[Power]string
}

// Info describes the tested pair.
type Info struct {
	Driver string // "etcd"
	Server string // name and version, "etcd 3.6.8"
	Nodes  int
}

// A Power is something that cases do to a store past its driver. A harness has
// it by implementing the interface of that name, or declares that it lacks it.
// It only needs to work when the case says that it needs it.
type Power string

// The powers and their interfaces.
const (
	Raw         Power = "raw"          // RawClient
	ForeignKeys Power = "foreign keys" // RawClient that takes any key and value
	Requests    Power = "requests"     // RequestCounter
	Network     Power = "network"      // NetworkFaulter

	// The rest disturbs the server or wants one with settings of its own.
	History  Power = "history"  // HistoryLoser
	Replace  Power = "replace"  // Replacer
	Restart  Power = "restart"  // Restarter
	Pause    Power = "pause"    // Pauser
	Majority Power = "majority" // MajorityLoser
	Access   Power = "access"   // AccessController
	TLS      Power = "tls"      // TLSMismatcher
	Full     Power = "full"     // Filler
)

// shareable are the powers that leave the server as it is for others.
var shareable = []Power{Raw, ForeignKeys, Requests, Network}

// A RawClient reaches the namespace with the store's own client, as people's
// tools do. Keys are those of the driver.
type RawClient interface {
	RawPut(ctx context.Context, key string, value []byte) error
	RawGet(ctx context.Context, key string) (value []byte, found bool, err error)
	RawDelete(ctx context.Context, key string) error
	// RawRevoke ends the lease of an ID.
	RawRevoke(ctx context.Context, lease string) error
}

// A HistoryLoser makes the store forget what its open watches would need to go
// on from where they are: by compaction while they are cut off, by restoring an
// older state, or whatever does it there. What the namespace holds may change
// on the way.
type HistoryLoser interface {
	// Checkpoint prepares it. What is written from here on makes sure that
	// watches which have seen it can't go on after lose.
	Checkpoint(ctx context.Context) (lose func(ctx context.Context) error, err error)
}

// A Replacer puts another server behind the address that the stores use, one
// that was set up anew: it is empty and its revisions begin again. The raw
// client follows.
type Replacer interface {
	Replace(ctx context.Context) error
}

// A RequestCounter counts the requests that the harness's stores have sent.
type RequestCounter interface {
	Requests() int64
}

// A NetworkFaulter disturbs the way between the harness's stores and the server
// (faults.Network does). The raw client goes another way. The Cleanup of the
// harness heals it.
type NetworkFaulter interface {
	// Cut breaks all connections and refuses new ones.
	Cut(ctx context.Context) error
	// DropReplies lets requests through and throws away what comes back.
	// Connections stand.
	DropReplies(ctx context.Context) error
	// Delay adds d to every answer.
	Delay(ctx context.Context, d time.Duration) error
	// Heal ends all of these.
	Heal(ctx context.Context) error
}

// A Restarter ends all nodes without warning and starts them again with their
// data; it returns when they answer.
type Restarter interface {
	Restart(ctx context.Context) error
}

// A Pauser stops all nodes in their tracks (SIGSTOP) and lets them go on.
type Pauser interface {
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
}

// A MajorityLoser has several nodes, and stops some of them in their tracks. The
// stores know the addresses of all.
type MajorityLoser interface {
	// PauseLeader leaves a majority, which elects another leader, and returns
	// when that answers.
	PauseLeader(ctx context.Context) error
	// PauseFollowers leaves the leader alone, without a majority.
	PauseFollowers(ctx context.Context) error
	// Resume lets all go on, and returns when they answer.
	Resume(ctx context.Context) error
}

// An AccessController has a server that asks who is there and what he may do.
// Stores of Open and the raw client may do everything.
type AccessController interface {
	// OpenStrangers opens stores with credentials that the server does not
	// know, by what is wrong with them: "wrong password", "no token".
	OpenStrangers() (map[string]Store, error)
	// OpenGuest opens a store that may read and write under "guest/", read
	// under "shown/", and take leases; nothing else. strip takes all these
	// rights away.
	OpenGuest(ctx context.Context) (s Store, strip func(ctx context.Context) error, err error)
}

// A TLSMismatcher has a server that speaks TLS.
type TLSMismatcher interface {
	// OpenMismatched opens stores whose settings do not fit the server's, by
	// what is wrong: "unknown authority", "plain text".
	OpenMismatched() (map[string]Store, error)
}

// A Filler uses up the space of a store that has a limit.
type Filler interface {
	// Fill returns when the server refuses writes.
	Fill(ctx context.Context) error
	// Free returns when it takes them again.
	Free(ctx context.Context) error
}

func has(h Harness, p Power) bool {
	var ok bool
	switch p {
	case Raw, ForeignKeys:
		_, ok = h.(RawClient)
	case Requests:
		_, ok = h.(RequestCounter)
	case Network:
		_, ok = h.(NetworkFaulter)
	case History:
		_, ok = h.(HistoryLoser)
	case Replace:
		_, ok = h.(Replacer)
	case Restart:
		_, ok = h.(Restarter)
	case Pause:
		_, ok = h.(Pauser)
	case Majority:
		_, ok = h.(MajorityLoser)
	case Access:
		_, ok = h.(AccessController)
	case TLS:
		_, ok = h.(TLSMismatcher)
	case Full:
		_, ok = h.(Filler)
	}
	return ok
}

// power is the harness as the interface of a power that the case needs.
func power[P any](t *proof) P {
	t.Helper()
	p, ok := t.Harness.(P)
	if !ok {
		t.Fatalf("the case uses a power that it does not say it needs")
	}
	return p
}
