package blacklist

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func build(ids ...string) *set {
	b := &builder{}
	for _, id := range ids {
		b.add([]byte(id))
	}
	s, _ := b.build(context.Background(), &pace{}) // this context does not end
	return s
}

// Numbers close together, far apart and in between, and texts: what is in the set
// is found, what is not is not.
func TestSet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	in := map[string]bool{}
	for i := range uint64(5000) {
		in[strconv.FormatUint(i*2, 10)] = true                            // one container and another
		in[strconv.FormatUint(1<<40+i*4096*random.Uint64N(3), 10)] = true // some in each
		in[strconv.FormatUint(random.Uint64(), 10)] = true                // one in each
		in[fmt.Sprintf("user-%d", i)] = true
		in[fmt.Sprintf("%08d", i)] = true // leading zeros: texts
	}
	for _, n := range []string{"0", "18446744073709551615", "18446744073709551616", "4294967296", "4294967295"} {
		in[n] = true
	}
	ids := make([]string, 0, len(in))
	for id := range in {
		ids = append(ids, id)
	}
	s := build(append(ids, ids...)...)
	assert.Equal(t, len(in), s.len, "each id once")
	dense, sparse := 0, 0
	for i := range s.shards {
		sparse += len(s.shards[i].sparse)
		if bitmap := s.shards[i].dense; bitmap != nil {
			dense += int(bitmap.GetCardinality())
		}
	}
	assert.GreaterOrEqual(t, dense, 5000)
	assert.GreaterOrEqual(t, sparse, 5000)
	for id := range in {
		require.True(t, s.contains(id), id)
	}
	for i := range uint64(20000) {
		for _, id := range []string{
			strconv.FormatUint(i*2+1, 10), strconv.FormatUint(random.Uint64(), 10), strconv.FormatUint(1<<40+i, 10),
			fmt.Sprintf("user-%d", i+5000), fmt.Sprintf("%09d", i), fmt.Sprintf("0%d", i),
		} {
			require.Equal(t, in[id], s.contains(id), id)
		}
	}
}

func TestAnEmptySet(t *testing.T) {
	s := build()
	for _, id := range []string{"", "0", "alice"} {
		assert.False(t, s.contains(id))
	}
}

// What no file can have is on no list, and nothing is looked up for it.
func TestIdsThatAreTooLong(t *testing.T) {
	long := make([]byte, maxID+1)
	for i := range long {
		long[i] = 'x'
	}
	s := build(string(long[:maxID]))
	assert.True(t, s.contains(string(long[:maxID])))
	assert.False(t, s.contains(string(long)))
}

func TestContainsAllocatesNothing(t *testing.T) {
	s := build("17", "12345678901234567", "alice")
	long := fmt.Sprintf("%0128d", 1)
	for _, id := range []string{"17", "18", "12345678901234567", "alice", "bob", long} {
		assert.Zero(t, testing.AllocsPerRun(100, func() { s.contains(id) }), id)
	}
}
