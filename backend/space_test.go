package backend_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/memory"
)

func TestSpaceLeft(t *testing.T) {
	assert.EqualValues(t, 70, backend.Space{Quota: 100, Used: 50, InUse: 30}.Left(), "what holds nothing is filled first")
	assert.Zero(t, backend.Space{Quota: 100, Used: 100, InUse: 30}.Left(), "a full store takes nothing, whatever it holds")
	assert.Zero(t, backend.Space{Used: 100, InUse: 30}.Left())
}

// limited is a store with a quota.
type limited struct{ backend.Store }

func (limited) Space(context.Context) (backend.Space, error) {
	return backend.Space{Quota: 100, Used: 50, InUse: 30}, nil
}

func TestSpaceOf(t *testing.T) {
	s := memory.New()
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	for _, none := range []backend.Store{s, backend.Prefix(s, "a/")} {
		_, err := backend.SpaceOf(t.Context(), none)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	space, err := backend.SpaceOf(t.Context(), backend.Prefix(limited{s}, "a/"))
	require.NoError(t, err)
	assert.EqualValues(t, 70, space.Left())
}
