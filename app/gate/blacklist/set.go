package blacklist

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/RoaringBitmap/roaring/v2/roaring64"
)

// A set has ids. It never changes, so it needs no lock.
//
// It consists of many shards, and not only to find things faster: making it, no
// large piece of memory is sorted, cleared or moved. The garbage collector can't
// interrupt a move, and everybody waits for it then.
type set struct {
	shards [shards]shard
	len    int
}

const (
	shardBits = 12
	shards    = 1 << shardBits
	restEvery = 1 << 4 // shards that are made
)

// A shard has some of the ids.
type shard struct {
	dense  *roaring64.Bitmap // nil: nothing
	sparse []uint64          // sorted
	texts  []uint64          // hashes, sorted
}

func (s *set) contains(id string) bool {
	if n, ok := number(id); ok {
		return s.shards[shardOf(n)].has(n)
	}
	if len(id) > maxID {
		return false
	}
	var text [maxID]byte // a conversion would be allocated
	shard, rest := hash(text[:copy(text[:], id)])
	_, found := slices.BinarySearch(s.shards[shard].texts, rest)
	return found
}

func (s *shard) has(n uint64) bool {
	if s.dense != nil && s.dense.Contains(n) {
		return true
	}
	_, found := slices.BinarySearch(s.sparse, n)
	return found
}

// containerBits are the lowest bits of a number. All numbers that have the others
// in common are in one container of a bitmap, and in one shard.
const containerBits = 16

func shardOf(n uint64) int {
	const spread = 0x9E3779B97F4A7C15 // 2⁶⁴ divided by the golden ratio
	return int((n >> containerBits) * spread >> (64 - shardBits))
}

// hash is what is kept of a text: which shard it is in, and 64 bits.
func hash(text []byte) (shard int, rest uint64) {
	sum := sha256.Sum256(text)
	return int(binary.BigEndian.Uint64(sum[:]) >> (64 - shardBits)), binary.BigEndian.Uint64(sum[8:])
}

// A builder gathers a set. The zero value is empty.
type builder struct {
	set set // not sorted, nothing dense
}

func (b *builder) add(id []byte) {
	if n, ok := number(id); ok {
		s := &b.set.shards[shardOf(n)]
		s.sparse = append(s.sparse, n)
		return
	}
	shard, rest := hash(id)
	s := &b.set.shards[shard]
	s.texts = append(s.texts, rest)
}

// build makes the set. Nothing can be added any more. Errors: context.Cause(ctx) when ctx
// ends.
func (b *builder) build(ctx context.Context, p *pace) (*set, error) {
	for i := range b.set.shards {
		if i%restEvery == 0 {
			if err := p.rest(ctx); err != nil {
				return nil, err
			}
		}
		s := &b.set.shards[i]
		s.sparse, s.texts = compact(s.sparse), compact(s.texts)
		b.set.len += len(s.sparse) + len(s.texts)
		s.extractDense()
		s.texts = slices.Clone(s.texts) // without the room to grow
	}
	return &b.set, nil
}

func compact(all []uint64) []uint64 {
	slices.Sort(all)
	return slices.Compact(all)
}

// extractDense moves those numbers that a bitmap holds in less than 8 bytes each
// into one: a container has some 60 bytes, and 2 more for each number.
func (s *shard) extractDense() {
	const worthwhile = 16
	var dense, sparse []uint64
	for rest := s.sparse; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n]>>containerBits == rest[0]>>containerBits {
			n++
		}
		if n >= worthwhile {
			dense = append(dense, rest[:n]...)
		} else {
			sparse = append(sparse, rest[:n]...)
		}
		rest = rest[n:]
	}
	s.sparse = slices.Clone(sparse)
	if len(dense) > 0 {
		s.dense = roaring64.New()
		s.dense.AddMany(dense)
		s.dense.RunOptimize()
	}
}
