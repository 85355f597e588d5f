package admin

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNobodyHasAnyNumberOfStreams(t *testing.T) {
	var s streams
	for range mostStreams {
		require.True(t, s.begin("ann"))
	}
	assert.False(t, s.begin("ann"))
	assert.True(t, s.begin("bob"), "who has none yet")
	s.end("bob")
	s.end("ann")
	assert.True(t, s.begin("ann"))
	for range mostStreams {
		s.end("ann")
	}
	assert.Empty(t, s.of)
}
