package consul

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// Consul gives errors no codes beyond HTTP's, so their texts have to be read.
const (
	textDenied   = "Permission denied"
	textDiskFull = "no space left on device"
)

// notApplied are the texts with which Consul says that a write did not happen.
// All other failures of a write that was sent leave it open, "leadership lost
// while committing log" above all: a new leader may commit it yet.
var notApplied = []string{
	"No cluster leader",
	"node is not the leader", // refused by Raft before it was appended
	// No way to the leader, so it was not sent there.
	"Raft leader not found",
	"No known Consul servers",
	"rpc error getting client",
	"rate limit exceeded",
	"RPC rate limit",
}

// writeFailure is the error of a write that Consul did not answer with a
// result.
func writeFailure(ctx context.Context, x *exchange, op, key string, cause error) error {
	return backend.Failure(ctx, writeClass(x, cause), op, key, cause)
}

func writeClass(x *exchange, cause error) error {
	var status api.StatusError
	if !errors.As(cause, &status) {
		if x.sent() {
			return backend.ErrUnknown
		}
		return backend.ErrUnavailable
	}
	switch {
	case denied(status):
		return backend.ErrDenied
	case status.Code == http.StatusRequestEntityTooLarge:
		return backend.ErrTooLarge
	case strings.Contains(status.Body, textDiskFull):
		return backend.ErrFull // the leader could not append it, so nobody has it
	case refusesUnread(status.Code) || containsAny(status.Body, notApplied):
		return backend.ErrUnavailable
	default:
		return backend.ErrUnknown
	}
}

// refusesUnread reports whether Consul answers so only to what it has not
// applied. Any other status may be that of a proxy which passed the write on.
func refusesUnread(code int) bool {
	switch code {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusTooManyRequests:
		return true
	}
	return code >= 300 && code < 400
}

// readFailure is the error of a read, which is never open.
func readFailure(ctx context.Context, op, key string, cause error) error {
	class := backend.ErrUnavailable
	if isDenied(cause) {
		class = backend.ErrDenied
	}
	return backend.Failure(ctx, class, op, key, cause)
}

// isDenied reports whether Consul refused the token or the lack of one.
func isDenied(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && denied(status)
}

func denied(status api.StatusError) bool {
	return status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized ||
		strings.Contains(status.Body, textDenied)
}

func containsAny(s string, texts []string) bool {
	for _, text := range texts {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}
