//go:build unix

package boltstore

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/seed27495941/seckill/backend"
)

// ttl is that of leases which are to end in a test.
const ttl = 3 * time.Second

func TestFileKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	f, s := reopen(t, path)
	kept, err := s.Put(t.Context(), "kept", []byte("v"))
	require.NoError(t, err)
	l, err := s.Lease(t.Context(), ttl)
	require.NoError(t, err)
	leased, err := s.Put(t.Context(), "leased", nil, backend.WithLease(l))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, f.Close())

	opened := time.Now()
	_, s = reopen(t, path)
	e, err := s.Get(t.Context(), "kept")
	require.NoError(t, err)
	require.Equal(t, backend.Entry{Key: "kept", Value: []byte("v"), Revision: kept}, e)
	e, err = s.Get(t.Context(), "leased")
	require.NoError(t, err)
	require.Equal(t, backend.Entry{Key: "leased", Value: []byte{}, Revision: leased, Lease: l.ID()}, e)

	next := follow(t, s, "leased")
	requireNext(t, next, backend.Update{Snapshot: true, Revision: leased, Puts: []backend.Entry{e}})
	requireNext(t, next, backend.Update{Revision: leased + 1, Deletes: []string{"leased"}})
	require.GreaterOrEqual(t, time.Since(opened), ttl, "the lease had less than its TTL")
	rev, err := s.Put(t.Context(), "leased", nil)
	require.NoError(t, err)
	require.Equal(t, leased+2, rev)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	reopen(t, path)
	_, err := Open(path, bbolt.Options{})
	require.ErrorIs(t, err, backend.ErrUnavailable, "the file is locked")

	_, err = Open(filepath.Join(dir, "no", "store.db"), bbolt.Options{})
	require.ErrorIs(t, err, backend.ErrUnavailable)

	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, make([]byte, 1<<16), 0o600))
	_, err = Open(text, bbolt.Options{})
	require.ErrorIs(t, err, backend.ErrInvalid)

	if os.Geteuid() != 0 { // who may everything
		require.NoError(t, os.Chmod(text, 0))
		_, err = Open(text, bbolt.Options{})
		require.ErrorIs(t, err, backend.ErrDenied)
	}
}

func TestDamagedFileIsRefused(t *testing.T) {
	for bucket, data := range map[string]string{keysBucket: `{"Key":`, leasesBucket: "soon"} {
		path := filepath.Join(t.TempDir(), "store.db")
		f, s := reopen(t, path)
		require.NoError(t, f.db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte(bucket)).Put([]byte("k"), []byte(data))
		}))
		require.NoError(t, s.Close())
		require.NoError(t, f.Close())
		_, err := Open(path, bbolt.Options{})
		require.ErrorIs(t, err, backend.ErrUnavailable, bucket)
	}
}

func TestFailedReadIsNoEmptyPrefix(t *testing.T) {
	f, _ := openFile(t, bbolt.Options{})
	s := openStore(t, f)
	require.NoError(t, f.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(keysBucket)).Put([]byte("k"), []byte("damaged"))
	}))
	_, err := s.Get(t.Context(), "k")
	require.ErrorIs(t, err, backend.ErrUnavailable)
	_, _, err = backend.List(soon(t), s, "")
	require.ErrorIs(t, err, backend.ErrUnavailable)
}

func TestFailedCommitIsUnknown(t *testing.T) {
	f, d := openFile(t, bbolt.Options{})
	s := openStore(t, f)
	first, err := s.Put(t.Context(), "k", []byte("1"))
	require.NoError(t, err)
	next := follow(t, s, "")
	known := backend.Entry{Key: "k", Value: []byte("1"), Revision: first}
	requireNext(t, next, backend.Update{Snapshot: true, Revision: first, Puts: []backend.Entry{known}})

	require.NoError(t, d.fail())
	_, err = s.Put(t.Context(), "k", []byte("2"))
	require.ErrorIs(t, err, backend.ErrUnknown)
	require.NotErrorIs(t, err, backend.ErrUnavailable)
	_, err = s.Lease(t.Context(), time.Minute)
	require.ErrorIs(t, err, backend.ErrUnknown)
	requireNext(t, next, backend.Update{Snapshot: true, Revision: first, Puts: []backend.Entry{known}})

	require.NoError(t, d.heal())
	second, err := s.Put(t.Context(), "k", []byte("2"), backend.If("k", first))
	require.NoError(t, err)
	e, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, second, e.Revision)
	requireNext(t, next, backend.Update{Revision: second, Puts: []backend.Entry{e}})
}

func TestFullFile(t *testing.T) {
	f, _ := openFile(t, bbolt.Options{MaxSize: 1 << 20})
	s := openStore(t, f)
	large := make([]byte, backend.MaxValue)
	var err error
	kept := 0
	for ; err == nil; kept++ {
		_, err = s.Put(t.Context(), strconv.Itoa(kept), large)
	}
	kept--
	require.ErrorIs(t, err, backend.ErrFull)
	require.NotErrorIs(t, err, backend.ErrUnknown, "bbolt asks for space before it writes")
	entries, _, err := backend.List(t.Context(), s, "")
	require.NoError(t, err)
	require.Len(t, entries, kept)

	require.NoError(t, s.Delete(t.Context(), "0"))
	require.Eventually(t, func() bool {
		_, err := s.Put(t.Context(), "again", large)
		return err == nil
	}, time.Minute, 10*time.Millisecond)
}

func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	f, d := openFile(t, bbolt.Options{})
	s := openStore(t, f)
	for range 2 { // pages to use again, so that the file need not grow
		_, err := s.Put(t.Context(), "k", nil)
		require.NoError(t, err)
	}
	require.NoError(t, d.fill())
	_, err := s.Put(t.Context(), "k", nil)
	require.ErrorIs(t, err, backend.ErrFull)
	require.ErrorIs(t, err, backend.ErrUnknown, "bbolt does not say which write had no space")
	require.NoError(t, d.heal())
	_, err = s.Put(t.Context(), "k", nil)
	require.NoError(t, err)
}

// A disk that hangs looks like a transaction that does not end.
func TestHangingDisk(t *testing.T) {
	f, _ := openFile(t, bbolt.Options{})
	s := openStore(t, f)
	first, err := s.Put(t.Context(), "k", []byte("1"))
	require.NoError(t, err)
	l, err := s.Lease(t.Context(), ttl)
	require.NoError(t, err)
	hang, err := f.db.Begin(true)
	require.NoError(t, err)
	t.Cleanup(func() { _ = hang.Rollback() })

	value := []byte("2")
	_, err = s.Put(soon(t), "k", value)
	require.ErrorIs(t, err, backend.ErrUnknown, "it was at work")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	value[0] = 'X'
	require.ErrorIs(t, s.Delete(soon(t), "k"), backend.ErrUnavailable, "it waited for its turn")

	<-l.Done()
	require.ErrorIs(t, l.Err(), backend.ErrLeaseLost)
	e, err := s.Get(t.Context(), "k")
	require.NoError(t, err, "reads wait for nobody")
	require.Equal(t, first, e.Revision)

	require.NoError(t, hang.Rollback())
	entries, _, err := backend.List(t.Context(), s, "k") // in its turn: after the lost write
	require.NoError(t, err)
	require.Equal(t, []backend.Entry{{Key: "k", Value: []byte("2"), Revision: first + 1}}, entries)
}

func TestExpiryIsTriedAgain(t *testing.T) {
	f, d := openFile(t, bbolt.Options{})
	holder, other := f.Open(), openStore(t, f)
	l, err := holder.Lease(t.Context(), ttl)
	require.NoError(t, err)
	rev, err := holder.Put(t.Context(), "k", nil, backend.WithLease(l))
	require.NoError(t, err)
	next := follow(t, other, "")
	state := []backend.Entry{{Key: "k", Value: []byte{}, Revision: rev, Lease: l.ID()}}
	requireNext(t, next, backend.Update{Snapshot: true, Revision: rev, Puts: state})

	require.NoError(t, d.fail())
	require.NoError(t, holder.Close())
	requireNext(t, next, backend.Update{Snapshot: true, Revision: rev, Puts: state}) // after the first attempt
	require.NoError(t, d.heal())
	for u, err, _ := next(); len(u.Deletes) == 0; u, err, _ = next() { // another may have failed meanwhile
		require.NoError(t, err)
	}
}

// soon is a context that ends in a moment.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// reopen opens a file and a store on it.
func reopen(t *testing.T, path string) (*File, *Store) {
	t.Helper()
	f, err := Open(path, bbolt.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f, openStore(t, f)
}

func openStore(t *testing.T, f *File) *Store {
	t.Helper()
	s := f.Open()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// follow opens a watch, which ends with the test and does not wait for ever.
func follow(t *testing.T, s *Store, prefix string) (next func() (backend.Update, error, bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	next, stop := iter.Pull2(s.WatchPrefix(ctx, prefix))
	t.Cleanup(stop)
	return next
}

func requireNext(t *testing.T, next func() (backend.Update, error, bool), want backend.Update) {
	t.Helper()
	u, err, _ := next()
	require.NoError(t, err)
	require.Equal(t, want, u)
}
