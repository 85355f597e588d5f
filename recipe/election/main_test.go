package election_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
	"github.com/seed27495941/seckill/recipe/election"
)

func TestMain(m *testing.M) { stores.Main(m, stores.Roles{"leader": lead}) }

const (
	name   = "elections/a"
	record = name + "/leader"
)

// everything asks for the long forms.
func everything() bool { return os.Getenv("SECKILL_TEST_FULL") != "" }

func newElection(t testing.TB, s backend.Store, cfg election.Config) *election.Election {
	t.Helper()
	e, err := election.New(s, name, cfg)
	require.NoError(t, err)
	return e
}

// campaign leads, until the test ends at the latest.
func campaign(t testing.TB, e *election.Election, value string) *election.Term {
	t.Helper()
	term, err := e.Campaign(t.Context(), value)
	require.NoError(t, err)
	t.Cleanup(func() { _ = term.Resign(context.WithoutCancel(t.Context())) }) // the store may be away
	return term
}

// A follower collects what an observer is told.
type follower struct {
	told chan election.Leader
}

func observe(t testing.TB, e *election.Election) *follower {
	t.Helper()
	f := &follower{make(chan election.Leader, 10_000)}
	stop := stores.Start(t, func(ctx context.Context) error {
		for leader, err := range e.Observe(ctx) {
			if err != nil {
				return err
			}
			f.told <- leader
		}
		return nil
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
	return f
}

// await waits until the observer is told this, and returns what it was told before.
func (f *follower) await(t testing.TB, so func(election.Leader) bool) (l election.Leader) {
	t.Helper()
	stores.Wait(t, "the observer is told", func() bool {
		for {
			select {
			case l = <-f.told:
				if so(l) {
					return true
				}
			default:
				return false
			}
		}
	})
	return l
}

func is(id, value string) func(election.Leader) bool {
	return func(l election.Leader) bool { return l.ID == id && l.Value == value }
}

// note writes a line into the journal, as the leader of a term: a key of its own, so
// that the store's revisions tell the order of all of them.
func note(ctx context.Context, s backend.Store, term *election.Term, n int) error {
	key := fmt.Sprintf("journal/%020d-%06d", term.Token(), n)
	_, err := s.Put(ctx, key, []byte(fmt.Sprint(term.Token())), term.Guard(), backend.If(key, 0))
	return err
}

// lead is a process that campaigns, and notes when it is told to.
func lead(ctx context.Context, s backend.Store, p *stores.Parent) error {
	e, err := election.New(s, name, election.Config{TTL: stores.ShortestTTL, ID: p.Args[0]})
	if err != nil {
		return err
	}
	term, err := e.Campaign(ctx, "")
	if err != nil {
		return err
	}
	p.Say("term %d", term.Token())
	n := 0
	for line := range p.Told {
		n++
		switch line {
		case "note":
			p.Say("note: %v", note(context.WithoutCancel(ctx), s, term, n))
		case "proclaim":
			p.Say("proclaim: %v", term.Proclaim(context.WithoutCancel(ctx), "stale"))
		}
	}
	<-term.Lost() // every parent pauses it
	return term.Resign(context.WithoutCancel(ctx))
}
