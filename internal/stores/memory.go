package stores

import (
	"errors"
	"testing"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

// Memory is a space in the process, with a server that can misbehave.
type Memory struct {
	Server *memory.Server
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{memory.NewServer()} }

// Open implements [Space].
func (m *Memory) Open(t testing.TB) backend.Store {
	t.Helper()
	return m.Client(t)
}

// Client opens a client that can be cut off.
func (m *Memory) Client(t testing.TB) *memory.Store {
	t.Helper()
	s := m.Server.Open()
	closeLater(t, s)
	return s
}

// Put implements [Space].
func (m *Memory) Put(t testing.TB, key, value string) {
	t.Helper()
	_, err := m.Open(t).Put(t.Context(), key, []byte(value))
	must(t, err)
}

// Delete implements [Space].
func (m *Memory) Delete(t testing.TB, key string) {
	t.Helper()
	must(t, m.Open(t).Delete(t.Context(), key))
}

// Revoke implements [Space].
func (m *Memory) Revoke(t testing.TB, lease string) {
	t.Helper()
	if !m.Server.ExpireLease(lease) {
		must(t, errors.New("no lease "+lease))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
