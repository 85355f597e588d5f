//go:build unix

package boltstore

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Save(t, conformance.Run(t, newHarness))
}

// A harness has a file of its own for each case. Past the driver there is
// nothing: the raw client is one more store, and the faults are the disk's.
type harness struct {
	file *File
	disk *disk
	raw  *Store
}

func newHarness(t *testing.T, _ conformance.Case) conformance.Harness {
	h := &harness{}
	h.file, h.disk = openFile(t, bbolt.Options{NoSync: true}) // no case cuts the power
	h.raw = h.file.Open()
	t.Cleanup(func() { require.NoError(t, h.raw.Close()) })
	return h
}

func (h *harness) Describe() conformance.Info {
	return conformance.Info{Driver: "boltstore", Server: "bbolt file", Nodes: 1}
}

func (h *harness) Open() (conformance.Store, error) { return h.file.Open(), nil }

func (h *harness) Lacks() map[conformance.Power]string {
	const inside = "the store is a library inside the process: "
	return map[conformance.Power]string{
		conformance.ForeignKeys: "the file is locked: nobody can write past the driver",
		conformance.Requests:    inside + "it sends no requests",
		conformance.Network:     inside + "there is no network to cut",
		conformance.Replace:     inside + "it has no address",
		conformance.Restart:     inside + "it ends with its clients",
		conformance.Pause:       inside + "it can't stop alone",
		conformance.Majority:    inside + "it has one node",
		conformance.Access:      "who can open the file may do everything",
		conformance.TLS:         inside + "it has no connections",
		conformance.Full:        "a full file still takes what fits into its free pages, which no rule foretells",
	}
}

func (h *harness) RawPut(ctx context.Context, key string, value []byte) error {
	_, err := h.raw.Put(ctx, key, value)
	return err
}

func (h *harness) RawGet(ctx context.Context, key string) ([]byte, bool, error) {
	e, err := h.raw.Get(ctx, key)
	if errors.Is(err, backend.ErrNotFound) {
		return nil, false, nil
	}
	return e.Value, err == nil, err
}

func (h *harness) RawDelete(ctx context.Context, key string) error { return h.raw.Delete(ctx, key) }

func (h *harness) RawRevoke(ctx context.Context, id string) error {
	return h.raw.do(ctx, h.file.turn, "revoke lease", id, func() error { return h.file.end(id) })
}

// Checkpoint: what makes watches of a file lose their place is a write of which
// nobody knows whether it happened.
func (h *harness) Checkpoint(context.Context) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		if err := h.disk.fail(); err != nil {
			return err
		}
		_, err := h.raw.Put(ctx, "dir/missed", nil)
		if !errors.Is(err, backend.ErrUnknown) {
			return errors.Join(errors.New("a failed commit was expected"), err)
		}
		return h.disk.heal()
	}, nil
}
