package stores_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) {
	stores.Main(m, stores.Roles{
		"writer": func(ctx context.Context, s backend.Store, p *stores.Parent) error {
			for line := range p.Told {
				if _, err := s.Put(ctx, p.Args[0], []byte(line)); err != nil {
					return err
				}
				p.Say("wrote %s", line)
			}
			return nil
		},
	})
}

func TestAProcessWorksIsPausedAndKilled(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, s stores.Space) {
		store := s.Open(t)
		p := stores.Spawn(t, s, "writer", "k")
		p.Tell(t, "one")
		assert.Equal(t, "one", p.Await(t, "wrote"))
		e, err := store.Get(t.Context(), "k")
		require.NoError(t, err)
		assert.Equal(t, "one", string(e.Value))

		p.Pause(t)
		p.Tell(t, "two")
		select {
		case line := <-p.Said:
			t.Errorf("a paused process said %q", line)
		case <-time.After(300 * time.Millisecond): // nothing to wait for
		}
		p.Resume(t)
		assert.Equal(t, "two", p.Await(t, "wrote"))

		p.Pause(t)
		p.Kill()
		_, more := <-p.Said
		assert.False(t, more)

		stores.Spawn(t, s, "writer", "k").Stop(t)
	})
}
