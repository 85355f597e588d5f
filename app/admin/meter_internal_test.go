package admin

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/app/sale"
)

// A sale that goes on for longer than is looked back: its course is what changed in the last
// ten minutes, however long it stood still, and its rates are those of the last seconds.
func TestTheCourseOfASale(t *testing.T) {
	var m meter
	event, other := ulid.Make(), ulid.Make()
	begun := time.Now()
	at := func(second int) time.Time { return begun.Add(time.Duration(second) * time.Second) }
	note := func(second int, held, soldOut, window int64) {
		m.note(at(second), map[ulid.ULID]sale.Figures{event: {
			Held: held, Refused: map[string]int64{"sold_out": soldOut, "window": window}, At: at(second),
		}})
	}
	units, refusals := m.rates(event)
	assert.Zero(t, units)
	assert.Zero(t, refusals)
	assert.Empty(t, m.course(event))

	m.note(at(0), map[ulid.ULID]sale.Figures{event: {Held: 1000}, other: {Held: 1000}})
	assert.Empty(t, m.course(event), "not all slots were heard of")
	for second := range 700 {
		note(second, 7, 0, 3)
	}
	course := m.course(event)
	assert.Equal(t, []Moment{{at(99), 7}, {at(699), 7}}, course, "nothing has changed")
	note(700, 7, 10, 3)
	note(701, 9, 20, 4)
	note(702, 9, 30, 5)
	note(703, 4, 40, 6)
	assert.Equal(t, []Moment{{at(103), 7}, {at(700), 7}, {at(701), 9}, {at(702), 9}, {at(703), 4}}, m.course(event))
	units, refusals = m.rates(event)
	assert.InDelta(t, -3.0/5, units, 1e-9)
	assert.InDelta(t, 43.0/5, refusals, 1e-9)

	m.note(at(704), map[ulid.ULID]sale.Figures{})
	assert.Empty(t, m.course(event), "it is over")
}
