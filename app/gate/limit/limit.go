package limit

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// A Limit is a rate, as tokens in a time, and how many there may be at once. A
// request takes one.
type Limit struct {
	Tokens int64         // that come in each Per, 1 or more
	Per    time.Duration // 1ns or more
	Burst  int64         // that may be there at once, 1 or more
}

// PerSecond is a limit of some requests a second.
func PerSecond(rate, burst int) Limit {
	return Limit{Tokens: int64(rate), Per: time.Second, Burst: int64(burst)}
}

// Validate says what is wrong with a limit.
func (l Limit) Validate() error {
	switch {
	case l.Tokens < 1:
		return fmt.Errorf("limit of %d tokens: expected 1 or more", l.Tokens)
	case l.Per < 1:
		return fmt.Errorf("limit of tokens in %v: expected a time", l.Per)
	case l.Burst < 1:
		return fmt.Errorf("limit with a burst of %d tokens: expected 1 or more", l.Burst)
	case l.Burst > math.MaxInt64/int64(l.Per):
		return fmt.Errorf("limit with a burst of %d tokens: expected at most %d with tokens in %v", l.Burst, math.MaxInt64/int64(l.Per), l.Per)
	}
	return nil
}

// Share is a part of the limit, 0 < part ≤ 1. There is room for one token at
// least, or it could never admit anything.
func (l Limit) Share(part float64) Limit {
	const rounding = 1e-9 // three thirds are one
	if per := math.Round(float64(l.Per) / part); per < math.MaxInt64 {
		l.Per = time.Duration(per)
	} else {
		l.Per = math.MaxInt64
	}
	l.Burst = max(1, min(int64(float64(l.Burst)*part+rounding), math.MaxInt64/int64(l.Per)))
	return l
}

// full is the level of a bucket that nothing was taken from.
func (l Limit) full() int64 { return l.Burst * int64(l.Per) }

// fillTime is how long an empty bucket takes to be full.
func (l Limit) fillTime() time.Duration { return time.Duration((l.full()-1)/l.Tokens + 1) }

// A level is how full a bucket was at a time, in nanoseconds since some
// beginning. A token is as many units as Per has nanoseconds, so each nanosecond
// brings Tokens units: whole numbers, whatever the rate.
type level struct {
	units int64
	at    int64
}

// fill brings a level up to now.
func (v *level) fill(l Limit, now int64) {
	passed := now - v.at
	if passed <= 0 {
		return
	}
	v.at = now
	if missing := l.full() - v.units; passed > missing/l.Tokens {
		v.units += missing
	} else {
		v.units += passed * l.Tokens
	}
}

// take takes a token, or says how long it takes until there is one.
func (v *level) take(l Limit, now int64) (ok bool, wait time.Duration) {
	v.fill(l, now)
	if missing := int64(l.Per) - v.units; missing > 0 {
		return false, time.Duration((missing-1)/l.Tokens + 1)
	}
	v.units -= int64(l.Per)
	return true, 0
}

// change puts a level that went by one limit under another.
func (v *level) change(from, to Limit, now int64) {
	v.fill(from, now)
	high, low := bits.Mul64(uint64(v.units), uint64(to.Per))
	if high >= uint64(from.Per) { // more than fits, and so than is allowed
		v.units = to.full()
		return
	}
	units, _ := bits.Div64(high, low, uint64(from.Per))
	v.units = int64(min(units, uint64(to.full())))
}
