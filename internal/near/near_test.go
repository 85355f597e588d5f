package near_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/internal/near"
)

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"bind", "bind", 0}, {"bnd", "bind", 1}, {"bimd", "bind", 1}, {"binnd", "bind", 1},
		{"kitten", "sitting", 3}, {"saturday", "sunday", 3}, {"ab", "ba", 2},
	} {
		assert.Equal(t, test.want, near.Distance(test.a, test.b), "%s %s", test.a, test.b)
		assert.Equal(t, test.want, near.Distance(test.b, test.a), "%s %s", test.b, test.a)
	}
}
