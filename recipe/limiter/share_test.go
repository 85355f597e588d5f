package limiter

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/seed27495941/seckill/recipe/registry"
)

const (
	settle = 10 * time.Second
	step   = settle / 40 // time moves by as much at most
)

// A world is a list of nodes as it really is, and nodes that see it late,
// incompletely or not at all, but for those in touch within settle/2.
type world struct {
	t      *rapid.T
	now    time.Time
	next   int
	states []state // how the list was, in order
	nodes  []*simulated
}

type state struct {
	list  []member
	since time.Time
}

type simulated struct {
	share
	place   string
	view    int // the state it sees
	cut     bool
	trusted bool // in touch since settle before its last growth
}

func (w *world) list() []member { return w.states[len(w.states)-1].list }

func (w *world) change(list []member) {
	w.states = append(w.states, state{list, w.now})
}

func (w *world) join() {
	w.next++
	w.add(fmt.Sprint(w.next), rapid.IntRange(1, 5).Draw(w.t, "weight"))
}

func (w *world) add(place string, weight int) {
	m := member{place: place, incarnation: fmt.Sprint(w.next), weight: weight}
	w.change(append(slices.Clone(w.list()), m))
	w.nodes = append(w.nodes, &simulated{share: share{self: m.incarnation, settle: settle}, place: place, trusted: true})
}

// succeed lists another process that waits for the place of one.
func (w *world) succeed() {
	if i := w.one(); i >= 0 {
		w.next++
		w.add(w.list()[i].place, w.list()[i].weight)
	}
}

// leave takes a node off the list; it lives on, and does not know yet.
func (w *world) leave() {
	if i := w.one(); i >= 0 {
		w.change(slices.Delete(slices.Clone(w.list()), i, i+1))
	}
}

func (w *world) reweigh() {
	if i := w.one(); i >= 0 {
		list := slices.Clone(w.list())
		list[i].weight = 1 + list[i].weight%5
		w.change(list)
	}
}

// one is the index of any node of the list.
func (w *world) one() int {
	if len(w.list()) == 0 {
		return -1
	}
	return rapid.IntRange(0, len(w.list())-1).Draw(w.t, "which")
}

func (w *world) setCut(cut bool) {
	if len(w.nodes) == 0 {
		return
	}
	n := w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(w.t, "which")]
	if cut {
		n.trusted = false
	} else if n.cut {
		n.view = len(w.states) - 1
	}
	n.cut = cut
}

// tick lets some time pass, in which everybody sees what he must and perhaps
// more.
func (w *world) tick(by time.Duration) {
	w.now = w.now.Add(by)
	must := 0 // who saw less now would be out of touch before the next tick
	for i, s := range w.states {
		if !s.since.After(w.now.Add(step - settle/2)) {
			must = i
		}
	}
	for _, n := range w.nodes {
		if !n.cut {
			n.view = w.pick(max(n.view, must), len(w.states)-1)
		}
		n.see(w.now, w.states[n.view].list)
		n.pass(w.now)
		before := n.value
		if n.mayGrow(w.now) && !n.cut {
			n.grow(w.now, w.now, w.list())
		}
		if n.value > before {
			n.trusted = true
		}
	}
}

// pick prefers the ends: as late as may be, and at once.
func (w *world) pick(least, most int) int {
	if least == most {
		return least
	}
	return rapid.OneOf(rapid.Just(least), rapid.Just(least), rapid.Just(most), rapid.IntRange(least, most)).Draw(w.t, "view")
}

// sum is that of the places' shares: processes of one share its.
func (w *world) sum(of func(*simulated) bool) (sum float64) {
	places := map[string]float64{}
	for _, n := range w.nodes {
		if of(n) {
			places[n.place] = max(places[n.place], n.value)
		}
	}
	for _, share := range places {
		sum += share
	}
	return sum
}

const rounding = 1e-9

// The first bound of the package's documentation: of those in touch, whatever
// happens and in whatever order they learn of it.
func TestSharesSumUpToOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, now: time.Unix(0, 0), states: []state{{}}}
		actions := map[string]func(){
			"join": w.join, "succeed": w.succeed, "leave": w.leave, "reweigh": w.reweigh,
			"cut": func() { w.setCut(true) }, "mend": func() { w.setCut(false) },
			"wait": func() {},
		}
		names := []string{"join", "join", "succeed", "leave", "reweigh", "cut", "mend", "wait", "wait"}
		for range rapid.IntRange(5, 30).Draw(rt, "events") {
			actions[rapid.SampledFrom(names).Draw(rt, "event")]()
			// A little, less and more than half of the settle time, and than that.
			for range rapid.SampledFrom([]int{1, 3, 17, 23, 37, 43, 90}).Draw(rt, "ticks") {
				w.tick(step)
				if sum := w.sum(func(n *simulated) bool { return n.trusted }); sum > 1+rounding {
					rt.Fatalf("the shares of those in touch sum up to %v", sum)
				}
			}
		}
	})
}

// The second: what is cut off at one moment has at most 1 together for ever, so
// that with the others it is at most twice the rate; and when the list is at
// rest, the others use all of it.
func TestOnePartitionDoublesAtMost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{t: rt, now: time.Unix(0, 0), states: []state{{}}}
		for range rapid.IntRange(2, 6).Draw(rt, "nodes") {
			w.join()
		}
		calm := func() {
			for range 100 {
				w.tick(step)
			}
		}
		calm()
		assert.InDelta(rt, 1, w.sum(func(*simulated) bool { return true }), rounding, "all of it is used")
		cut := w.nodes[:rapid.IntRange(1, len(w.nodes)-1).Draw(rt, "cut")]
		var gone []string
		for _, n := range cut {
			n.cut, n.trusted = true, false
			gone = append(gone, n.self)
		}
		w.change(slices.DeleteFunc(slices.Clone(w.list()), func(m member) bool { return slices.Contains(gone, m.incarnation) }))
		w.join()
		for range 200 {
			w.tick(step)
			if all := w.sum(func(*simulated) bool { return true }); all > 2+rounding {
				rt.Fatalf("all shares sum up to %v", all)
			}
		}
		assert.InDelta(rt, 1, w.sum(func(n *simulated) bool { return !n.cut }), rounding, "the others have all of it")
	})
}

func TestShareOfAFlappingNode(t *testing.T) {
	a, b := member{"a", "1", 1}, member{"b", "2", 1}
	now := time.Unix(0, 0)
	s := share{self: "1", settle: settle}
	see := func(all ...member) { s.see(now, all); s.pass(now) }
	after := func(d time.Duration) { now = now.Add(d); s.pass(now) }
	see(a)
	assert.Zero(t, s.value, "nothing at first")
	after(settle - 1)
	assert.False(t, s.mayGrow(now))
	after(1)
	assert.True(t, s.mayGrow(now))
	s.grow(now, now, []member{a, b})
	assert.Zero(t, s.value, "the store knows better")
	see(a)
	after(settle)
	asked := now
	after(settle/2 + 1)
	s.grow(asked, now, []member{a})
	assert.Zero(t, s.value, "what the store said before a pause is out of date")
	after(settle)
	s.grow(now, now, []member{a})
	assert.InDelta(t, 1, s.value, 0)

	see(a, b)
	assert.InDelta(t, 0.5, s.value, 0, "at once")
	see(b)
	after(settle/2 - 1)
	assert.InDelta(t, 0.5, s.value, 0, "it may be on its way")
	see()
	after(time.Hour)
	assert.Zero(t, s.value, "it has been away for long")
	see(a, b)
	after(settle)
	s.grow(now, now, []member{a, b})
	see(b)
	after(settle/2 - 1)
	see(a, b)
	after(time.Hour)
	assert.InDelta(t, 0.5, s.value, 0, "it was back in time")
	see()
	after(time.Hour)
	assert.InDelta(t, 0.5, s.value, 0, "nobody at all is not believed")
	assert.Zero(t, s.next())
}

func TestMembers(t *testing.T) {
	nodes := []registry.Node{
		{ID: "a", Incarnation: "1", Weight: 3},
		{ID: "b", Incarnation: "2", Draining: true},
		{ID: "c", Incarnation: "3", Health: registry.Critical},
		{ID: "d", Incarnation: "4", Drain: &registry.Drain{}},
		{ID: "e", Incarnation: "5"},
		{ID: "e~5", Incarnation: "5"},
		{ID: "f~6", Incarnation: "6"},
		{ID: "g~7", Incarnation: "7", Draining: true},
		{ID: "by hand"},
		{ID: "by hand too"},
	}
	all := members(nodes)
	assert.Equal(t, []member{{"a", "1", 3}, {"e", "5", 1}, {"e", "5", 1}, {"f", "6", 1}, {"by hand", "", 1}, {"by hand too", "", 1}}, all)
	assert.InDelta(t, 3./7, part(all, "1"), rounding)
	assert.Zero(t, part(all, "2"))
	assert.Zero(t, part(nil, "1"))
	succession := members([]registry.Node{
		{ID: "a", Incarnation: "1", Weight: 3}, {ID: "a~4", Incarnation: "4", Weight: 3}, {ID: "b", Incarnation: "2"},
	})
	assert.InDelta(t, 0.75, part(succession, "1"), rounding, "loses nothing to who takes over from it")
	assert.InDelta(t, 0.75, part(succession, "4"), rounding, "and that has it when it serves")
	assert.InDelta(t, 0.25, part(succession, "2"), rounding)
	assert.Equal(t, []member{{"b", "2", 1}}, members(nodes[1:2]), "it has a chance, and is all the chance there is")
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		share float64
		rate  float64
		burst int
	}{
		{0, 0, 0}, {1, 30, 10}, {1. / 3, 10, 3}, {0.3, 9, 3}, {0.001, 0.03, 1},
	} {
		rate, burst := Limit{Rate: 30, Burst: 10}.split(c.share)
		assert.InDelta(t, c.rate, rate, rounding)
		assert.Equal(t, c.burst, burst, c.share)
	}
	_, burst := Limit{Rate: 1, Burst: 3}.split(1. / 3)
	assert.Equal(t, 1, burst)
}
