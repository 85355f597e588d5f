package web

import (
	"crypto/rand"
	"net/http"
)

const (
	idHeader  = "X-Request-Id" // in the form that http.Header has
	longestID = 64
)

// GiveRequestID gives a request the id that it brings along, or a new one, and tells it in
// the answer.
func GiveRequestID(answer, request http.Header) string {
	id := request.Get(idHeader)
	if !IsRequestID(id) {
		id = rand.Text()
	}
	answer[idHeader] = []string{id}
	return id
}

// IsRequestID reports whether an id of others' can go into a log as it is.
func IsRequestID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return id != "" && len(id) <= longestID
}
