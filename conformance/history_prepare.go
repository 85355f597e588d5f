package conformance

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/seed27495941/seckill/backend"
)

// forever is the return of what may take effect at any time.
const forever = math.MaxInt64

// prepare turns what was recorded into what has to be explained. Calls that
// changed nothing and tell nothing are left out. A write of unknown outcome is
// open for ever, unless it is a put whose value was read: then it was made, at
// that revision, before it was first read. The last operation is the end of all
// that returned.
func prepare(ops []*operation) []porcupine.Operation {
	read := firstReads(ops)
	var prepared []porcupine.Operation
	last, opened := int64(0), 0
	for _, recorded := range ops {
		if errors.Is(recorded.class, backend.ErrUnavailable) {
			continue
		}
		o := *recorded
		returned := int64(o.returned)
		if errors.Is(o.class, backend.ErrUnknown) {
			if seen, ok := read[o.value]; ok && o.kind == opPut {
				o.class, o.revision = nil, seen.revision
				returned = int64(max(seen.at, o.called))
			} else {
				o.open, o.revision = 1<<opened, 0
				opened++
				returned = forever
			}
		}
		if returned != forever {
			last = max(last, returned)
		}
		prepared = append(prepared, porcupine.Operation{ClientId: o.client, Input: &o, Call: int64(o.called), Return: returned})
	}
	tighten(prepared)
	return append(prepared, porcupine.Operation{Input: &operation{kind: opEnd}, Call: last + 1, Return: last + 1})
}

// A sight is the first time that a value was read.
type sight struct {
	revision backend.Revision
	at       time.Duration
}

func firstReads(ops []*operation) map[string]sight {
	first := map[string]sight{}
	for _, o := range ops {
		for _, e := range o.entries {
			if seen, ok := first[string(e.Value)]; !ok || o.returned < seen.at {
				first[string(e.Value)] = sight{e.Revision, o.returned}
			}
		}
	}
	return first
}

// tighten narrows the times of operations by what revisions tell of their order:
// puts were made in that of theirs, and what is complete up to a revision was
// read after the put that made it was called. No verdict changes by that; it
// saves trying what can't be.
func tighten(ops []porcupine.Operation) {
	var puts, whole []*porcupine.Operation
	for i := range ops {
		switch o := input(ops[i]); {
		case o.kind == opPut && o.class == nil:
			puts = append(puts, &ops[i])
		case o.kind == opList || o.kind == opTold:
			whole = append(whole, &ops[i])
		}
	}
	revision := func(p *porcupine.Operation) backend.Revision { return input(*p).revision }
	slices.SortFunc(puts, func(a, b *porcupine.Operation) int { return cmp.Compare(revision(a), revision(b)) })
	calls := make([]int64, len(puts))
	earliest, latest := int64(0), int64(forever)
	for i, p := range puts {
		earliest = max(earliest, p.Call)
		calls[i] = earliest
	}
	for i, p := range slices.Backward(puts) {
		latest = min(latest, p.Return)
		if calls[i] <= latest { // else nothing explains them, as the checker will find
			p.Call, p.Return = calls[i], latest
		}
	}
	for _, w := range whole {
		n, found := slices.BinarySearchFunc(puts, revision(w), func(p *porcupine.Operation, rev backend.Revision) int {
			return cmp.Compare(revision(p), rev)
		})
		if found {
			n++
		}
		if n > 0 && calls[n-1] <= w.Return {
			w.Call = max(w.Call, calls[n-1])
		}
	}
}
