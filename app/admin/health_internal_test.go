package admin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

// A checkup looks at the servers for a second, and finds nothing wrong if it is let.
type checkup chan struct{}

func (c checkup) Diagnose(ctx context.Context) []backend.Finding {
	c <- struct{}{}
	select {
	case <-ctx.Done():
		return []backend.Finding{{Check: "servers", Verdict: backend.VerdictFail}}
	case <-time.After(time.Second):
		return []backend.Finding{{Check: "servers", Verdict: backend.VerdictOK}}
	}
}

// What is shown to all does not depend on whether who asked first has waited for it.
func TestWhoGoesAwayLeavesNoFalseFindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var x examiner
		store, servers := memory.New(), make(checkup, 2)
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			x.look(ctx, store, servers)
		}()
		<-servers
		leave()
		<-gone
		h := x.look(t.Context(), store, servers)
		assert.Empty(t, h.Error)
		assert.Equal(t, []backend.Finding{{Check: "servers", Verdict: backend.VerdictOK}}, h.Findings)
		assert.Empty(t, servers, "they were looked at once")

		var y examiner
		assert.Empty(t, y.look(ctx, store, nil).Error, "nor is the store's answer anybody's")
	})
}
