package consul

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/seed27495941/seckill/backend"
)

// The texts by which a transaction's errors can be told apart.
const (
	textHeld           = "failed session check for key"
	textLockDelay      = "due to lock delay"
	textInvalidSession = "invalid session"
)

// has reports whether one of the errors begins or ends with the text. In
// between a key is quoted, which may have any text in it.
func has(refused api.TxnErrors, text string) bool {
	for _, e := range refused {
		if strings.HasPrefix(e.What, text) || strings.HasSuffix(e.What, text) {
			return true
		}
	}
	return false
}

// refusal is the error of a write whose transaction was rolled back. Missing
// rights are looked for first: they come as a conflict too, in place of what
// the conditions would have said.
func (w write) refusal(ctx context.Context, refused api.TxnErrors) error {
	switch conflict := w.conflict(refused); {
	case has(refused, textDenied):
		return backend.Failure(ctx, backend.ErrDenied, w.op, w.key, errRolledBack(refused))
	case conflict != nil:
		return conflict
	case has(refused, textInvalidSession):
		return backend.Failure(ctx, backend.ErrLeaseLost, w.op, w.key, errRolledBack(refused))
	default:
		return backend.Failure(ctx, backend.ErrUnavailable, w.op, w.key, errRolledBack(refused))
	}
}

// conflict finds a failed condition among the errors.
func (w write) conflict(refused api.TxnErrors) error {
	for _, e := range refused {
		if e.OpIndex < 0 || e.OpIndex >= len(w.conds) || !isCheck(e.What) {
			continue
		}
		failed := w.conds[e.OpIndex]
		return &backend.ConflictError{Key: failed.Key, Want: failed.Revision, Have: revisionTold(e.What)}
	}
	return nil
}

// isCheck tells a condition that does not hold from one that could not be
// looked at.
func isCheck(what string) bool {
	return strings.Contains(what, "current modify index") ||
		strings.HasSuffix(what, "doesn't exist") || strings.HasSuffix(what, "exists")
}

var indexTold = regexp.MustCompile(`current modify index (\d+) != \d+$`)

// revisionTold is the revision that the key of a failed condition has, 0 if
// the text does not tell.
func revisionTold(what string) backend.Revision {
	m := indexTold.FindStringSubmatch(what)
	if m == nil {
		return 0
	}
	index, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return backend.Revision(index)
}
