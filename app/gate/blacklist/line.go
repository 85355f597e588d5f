package blacklist

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// maxID is how many bytes an id has at most.
const maxID = 128

// parse returns the id in a line, none if there is none in it, or what is wrong.
func parse(line []byte) (id []byte, fault string) {
	id = bytes.Trim(line, " \t\r\n")
	switch {
	case len(id) == 0 || id[0] == '#':
		return nil, ""
	case len(id) > maxID:
		return nil, tooLong
	case !utf8.Valid(id):
		return nil, "not UTF-8"
	}
	if i := bytes.IndexFunc(id, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRune(id[i:])
		return nil, fmt.Sprintf("control character %U", r)
	}
	return id, ""
}

var tooLong = fmt.Sprintf("longer than %d bytes", maxID)

// number is the value of an id that is a decimal number as it is written in only
// one way. Of two ids with one value at least one is no number.
func number[T string | []byte](id T) (value uint64, ok bool) {
	const digits = 20 // of 2⁶⁴-1
	if len(id) == 0 || len(id) > digits || id[0] == '0' && len(id) > 1 {
		return 0, false
	}
	for i := range len(id) {
		digit := uint64(id[i] - '0')
		if digit > 9 {
			return 0, false
		}
		next := value*10 + digit
		if i == digits-1 && (value > (1<<64-1)/10 || next < digit) {
			return 0, false // more than 64 bits
		}
		value = next
	}
	return value, true
}
