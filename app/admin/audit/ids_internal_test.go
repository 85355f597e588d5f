package audit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A clock that goes back a little keeps nobody's records from being in order; one that was
// far ahead dates no more of them in the future once it is right.
func TestIDsGoByTheClock(t *testing.T) {
	const now = 1_800_000_000_000
	minute := uint64(time.Minute.Milliseconds())
	for name, test := range map[string]struct{ last, now, want uint64 }{
		"the first":     {0, now, now},
		"goes on":       {now, now + 5, now + 5},
		"back a little": {now, now - minute, now},
		"back by more":  {now, now - minute - 1, now - minute - 1},
		"was far ahead": {now + 365*24*60*minute, now, now},
	} {
		assert.Equal(t, test.want, later(test.last, test.now), name)
	}
}
