package metrics_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
	"github.com/seed27495941/seckill/backend/metrics"
)

// What the wrapper costs is the difference of bare and wrapped.

func BenchmarkGet(b *testing.B) {
	each(b, func(b *testing.B, s backend.Store) error {
		_, err := s.Get(b.Context(), "key")
		return err
	})
}

func BenchmarkPut(b *testing.B) {
	value := make([]byte, 100)
	each(b, func(b *testing.B, s backend.Store) error {
		_, err := s.Put(b.Context(), "key", value)
		return err
	})
}

func each(b *testing.B, call func(b *testing.B, s backend.Store) error) {
	b.Helper()
	driver := memory.New()
	b.Cleanup(func() { require.NoError(b, driver.Close()) })
	_, err := driver.Put(b.Context(), "key", []byte("value"))
	require.NoError(b, err)
	for _, c := range []struct {
		name  string
		store backend.Store
	}{{"bare", driver}, {"wrapped", metrics.New(driver)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call(b, c.store); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
