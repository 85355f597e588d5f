package conformance

import (
	"context"

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
type Power string

// The powers and their interfaces.
const (
	Raw         Power = "raw"          // RawClient
	ForeignKeys Power = "foreign keys" // RawClient that takes any key and value
	History     Power = "history"      // HistoryLoser
	Requests    Power = "requests"     // RequestCounter
	Restart     Power = "restart"      // Restarter
	Pause       Power = "pause"        // Pauser
)

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

// A RequestCounter counts the requests that the harness's stores have sent.
type RequestCounter interface {
	Requests() int64
}

// A Restarter ends the server without warning and starts it again with its
// data; it returns when the server answers.
type Restarter interface {
	Restart(ctx context.Context) error
}

// A Pauser stops the server in its tracks (SIGSTOP) and lets it go on.
type Pauser interface {
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
}

func has(h Harness, p Power) bool {
	var ok bool
	switch p {
	case Raw, ForeignKeys:
		_, ok = h.(RawClient)
	case History:
		_, ok = h.(HistoryLoser)
	case Requests:
		_, ok = h.(RequestCounter)
	case Restart:
		_, ok = h.(Restarter)
	case Pause:
		_, ok = h.(Pauser)
	}
	return ok
}

// power is the harness as the interface of a power that the case needs.
func power[P any](t *T) P {
	t.Helper()
	p, ok := t.Harness.(P)
	if !ok {
		t.Fatalf("the case uses a power that it does not say it needs")
	}
	return p
}
