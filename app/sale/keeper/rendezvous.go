package keeper

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"
)

// rank orders processes by how much a slot of a sale belongs to them, the first
// one being its favourite: rendezvous hashing (Thaler and Ravishankar, "A
// Name-Based Mapping Scheme for Rendezvous", 1996). When a process comes or goes
// only its own slots move.
func rank(event ulid.ULID, slot int, processes []string) []string {
	name := event.String() + "/" + strconv.Itoa(slot) + "/"
	type bid struct {
		process string
		weight  uint64
	}
	bids := make([]bid, 0, len(processes))
	for _, p := range processes {
		bids = append(bids, bid{p, xxhash.Sum64String(name + p)})
	}
	slices.SortFunc(bids, func(a, b bid) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.process, b.process))
	})
	ranked := make([]string, 0, len(bids))
	for _, b := range bids {
		ranked = append(ranked, b.process)
	}
	return ranked
}
