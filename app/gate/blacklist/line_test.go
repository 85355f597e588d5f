package blacklist

import (
	"bufio"
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		"":                             "",
		"\n":                           "",
		" \t\r\n":                      "",
		"# nobody":                     "",
		"  # nobody":                   "",
		"alice":                        "alice",
		"alice\n":                      "alice",
		"alice\r\n":                    "alice",
		"\t alice  \r\n":               "alice",
		"a b":                          "a b",
		"a#b":                          "a#b",
		"李雷":                           "李雷",
		strings.Repeat("x", 128):       strings.Repeat("x", 128),
		strings.Repeat(" ", 999) + "x": "x",
	} {
		id, fault := parse([]byte(line))
		assert.Empty(t, fault, "%q", line)
		assert.Equal(t, want, string(id), "%q", line)
	}
	for line, want := range map[string]string{
		strings.Repeat("x", 129): "longer than 128 bytes",
		"a\xffb":                 "not UTF-8",
		"a\x00b":                 "control character U+0000",
		"a\tb":                   "control character U+0009",
		"a\rb":                   "control character U+000D",
		"a\u0085b":               "control character U+0085",
	} {
		id, fault := parse([]byte(line))
		assert.Nil(t, id, "%q", line)
		assert.Equal(t, want, fault, "%q", line)
	}
}

func TestNumber(t *testing.T) {
	for id, want := range map[string]uint64{
		"0": 0, "9": 9, "10": 10, "18446744073709551615": 1<<64 - 1, "9999999999999999999": 9999999999999999999,
	} {
		n, ok := number(id)
		assert.True(t, ok, id)
		assert.Equal(t, want, n)
	}
	for _, id := range []string{
		"", "00", "01", "-1", "+1", "1.0", "1e3", "0x1", " 1", "1 ", "a", "１", ":", "/",
		"18446744073709551616", "18446744073709551620", "18446744073709551700", "19000000000000000000",
		"99999999999999999999", "100000000000000000000",
	} {
		_, ok := number(id)
		assert.False(t, ok, id)
	}
}

func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "01", "18446744073709551615", "18446744073709551616", "alice"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		n, ok := number(id)
		want, err := strconv.ParseUint(id, 10, 64)
		canonical := err == nil && strconv.FormatUint(want, 10) == id
		require.Equal(t, canonical, ok, "%q", id)
		if ok {
			require.Equal(t, want, n)
		}
		m, same := number([]byte(id))
		require.Equal(t, n, m)
		require.Equal(t, ok, same)
	})
}

func FuzzLine(f *testing.F) {
	for _, seed := range []string{"", "# x", "alice\r\n", "a\x00", "\xff", strings.Repeat("x", 129)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		id, fault := parse(line)
		if id == nil {
			return
		}
		require.Empty(t, fault)
		require.LessOrEqual(t, len(id), maxID)
		require.True(t, utf8.Valid(id))
		require.NotEqual(t, byte('#'), id[0])
		require.False(t, bytes.ContainsFunc(id, unicode.IsControl))
		again, fault := parse(id)
		require.Empty(t, fault)
		require.Equal(t, id, again)
	})
}

// A reader with the smallest buffer there is finds in any bytes what one that has
// them all at once finds: no line is cut, none is joined.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "1\n2\n", "1\n2", "a\r\n\r\nb\r\n", "\ufeff1\n\ufeff2\n", "\ufeff", "# x\n1\n",
		strings.Repeat("1", 5000) + "\n2\n", strings.Repeat("x", 4096) + "\n", strings.Repeat("x", 16) + "\n", strings.Repeat("x", 15) + "\n", "\x00\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &reader{in: bufio.NewReaderSize(bytes.NewReader(text), 2*maxID)}
		require.NoError(t, r.readAll(t.Context(), &pace{}))

		var want []string
		bad := 0
		lines := bytes.SplitAfter(bytes.TrimPrefix(text, []byte(byteOrderMark)), []byte("\n"))
		if len(lines[len(lines)-1]) == 0 {
			lines = lines[:len(lines)-1]
		}
		for _, line := range lines {
			id, fault := parse(line)
			switch {
			case len(line) > 2*maxID || fault != "":
				bad++
			case id != nil:
				want = append(want, string(id))
			}
		}
		require.Equal(t, len(lines), r.line)
		require.Equal(t, bad, r.bad)
		require.Equal(t, len(want), r.good)
		require.Equal(t, int64(len(text)), r.size)
		require.Equal(t, len(lines) == 0 || bytes.HasSuffix(text, []byte("\n")), r.ended)
		set, err := r.ids.build(t.Context(), &pace{})
		require.NoError(t, err)
		for _, id := range want {
			require.True(t, set.contains(id), "%q", id)
		}
	})
}
