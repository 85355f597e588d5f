package audit_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/stores"
)

func TestMain(m *testing.M) { stores.Main(m, nil) }

func by(name, target string) audit.Action {
	return audit.Action{Name: name, Target: target, Actor: "ann", Via: audit.ViaSession, Remote: "10.0.0.1", RequestID: "r-1"}
}

// nothing is a change that changes nothing.
func nothing(context.Context) (any, error) { return nil, nil }

func page(t *testing.T, l *audit.Log, q audit.Query) audit.Page {
	t.Helper()
	p, err := l.Page(t.Context(), q)
	require.NoError(t, err)
	return p
}

// all reads page by page.
func all(t *testing.T, l *audit.Log, q audit.Query) (records []audit.Record) {
	t.Helper()
	for {
		p := page(t, l, q)
		records = append(records, p.Records...)
		if p.Next.IsZero() {
			return records
		}
		q.Before = p.Next
	}
}

func targets(records []audit.Record) (targets []string) {
	for _, r := range records {
		targets = append(targets, r.Target)
	}
	return targets
}

func keys(t *testing.T, s backend.Store) (keys []string) {
	t.Helper()
	entries, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}
