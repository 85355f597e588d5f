package keeper

import (
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"
)

// favourites are the processes that the slots of a sale belong to: rendezvous hashing
// (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996). When
// a process comes or goes only its own slots move.
func favourites(event ulid.ULID, slots int, processes []string) []string {
	of := make([]string, slots)
	bid := xxhash.New()
	for k := range of {
		name := event.String() + "/" + strconv.Itoa(k) + "/"
		var most uint64
		for _, p := range processes {
			bid.Reset()
			_, _ = bid.WriteString(name) // never fails
			_, _ = bid.WriteString(p)
			weight := bid.Sum64()
			if of[k] == "" || weight > most || weight == most && p < of[k] {
				of[k], most = p, weight
			}
		}
	}
	return of
}
