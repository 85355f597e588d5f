package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/export"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

// A code names a problem, for programs.
type code string

// The codes. What else there is comes from package web.
const (
	malformed       code = "malformed"
	invalid         code = "invalid"
	tooLarge        code = "too_large"
	unsupported     code = "unsupported_media_type"
	unauthenticated code = "unauthenticated"
	forbidden       code = "forbidden"
	noPrecondition  code = "precondition_required"
	changed         code = "changed"
	noSuchGoods     code = "no_such_goods"
	noSuchTopic     code = "no_such_topic"
	noSuchEvent     code = "no_such_event"
	noSuchNode      code = "no_such_node"
	noSuchVersion   code = "no_such_version"
	noSuchRollout   code = "no_such_rollout"
	noSuchKey       code = "no_such_key"
	wrongStatus     code = "wrong_status"
	noRoom          code = "no_room"
	notLive         code = "not_live"
	noOrders        code = "no_orders"
	rolloutOver     code = "rollout_conflict"
	refused         code = "refused"
	unreachable     code = "unreachable"
	exists          code = "exists"
	lastAdmin       code = "last_admin"
	throttled       code = "throttled"
	busy            code = "busy"
	mustChange      code = "must_change_password"
	notFound        code = "not_found"
	unreadable      code = "unreadable"
	full            code = "full"
	unknown         code = "unknown"
	unavailable     code = "unavailable"
)

// A meaning is what a code stands for, in an answer and in the document.
type meaning struct {
	status int
	text   string
}

var meanings = map[code]meaning{
	malformed:       {http.StatusBadRequest, "The body is not well-formed"},
	invalid:         {http.StatusUnprocessableEntity, "The request is not as it should be"},
	tooLarge:        {http.StatusRequestEntityTooLarge, "The body is too large"},
	unsupported:     {http.StatusUnsupportedMediaType, "The body has to be application/json"},
	unauthenticated: {http.StatusUnauthorized, "Who sends this can't be told: log in, or send a token"},
	forbidden:       {http.StatusForbidden, "The role does not allow this"},
	noPrecondition:  {http.StatusPreconditionRequired, "Say in If-Match which version this changes: its ETag"},
	changed:         {http.StatusPreconditionFailed, "Somebody else has changed it since it was looked at: look again before it is changed"},
	noSuchGoods:     {http.StatusNotFound, "There are no such goods"},
	noSuchTopic:     {http.StatusNotFound, "There is no such topic"},
	noSuchEvent:     {http.StatusNotFound, "There is no such event"},
	noSuchNode:      {http.StatusNotFound, "There is no such node"},
	noSuchVersion:   {http.StatusNotFound, "There is no record of such a version"},
	noSuchRollout:   {http.StatusNotFound, "There is no such rollout"},
	noSuchKey:       {http.StatusNotFound, "There is no such key"},
	wrongStatus:     {http.StatusConflict, "The event's status does not allow that"},
	noRoom:          {http.StatusConflict, "The sale's log could outgrow the store"},
	notLive:         {http.StatusConflict, "The sale is not open, so it has no live figures"},
	noOrders:        {http.StatusConflict, "The store has no orders of the event: it was never published, or is archived"},
	rolloutOver:     {http.StatusConflict, "The rollout is over, another one is on trial, or the config has changed since it began"},
	refused:         {http.StatusConflict, "The node can't use that"},
	unreachable:     {http.StatusBadGateway, "The node can't be reached. What it was told may have been done"},
	exists:          {http.StatusConflict, "There is a user of that name"},
	lastAdmin:       {http.StatusConflict, "This is the last admin"},
	throttled:       {http.StatusTooManyRequests, "Too many attempts: try again later"},
	busy:            {http.StatusServiceUnavailable, "This process reads the orders of as many sales as it can at once; nothing was done: try again in a few seconds"},
	mustChange:      {http.StatusForbidden, "The password was for one use: change it first"},
	notFound:        {http.StatusNotFound, "There is no such user or token"},
	unreadable:      {http.StatusConflict, "What the store has there can't be read"},
	full:            {http.StatusInsufficientStorage, "The store has no space left"},
	unknown:         {http.StatusServiceUnavailable, "It may or may not have been done: look before it is done again"},
	unavailable:     {http.StatusServiceUnavailable, "The store can't be asked; nothing was done"},
}

// problem makes a problem of a code. Without a detail it has the code's text.
func problem(c code, detail string) *web.Problem {
	m := meanings[c]
	if detail == "" {
		detail = m.text
	}
	return web.NewProblem(m.status, string(c), detail)
}

// invalidAt is a problem with one part of a request.
func invalidAt(where, what string) *web.Problem {
	p := problem(invalid, "")
	p.Faults = []web.Fault{{Where: where, What: what}}
	return p
}

// verdicts are what errors mean, the first that fits.
var verdicts = []struct {
	err  error
	code code
}{
	{event.ErrStatus, wrongStatus},
	{event.ErrNoRoom, noRoom},
	{export.ErrNotThere, noOrders},
	{record.ErrCorrupt, unreadable},
	{backend.ErrInvalid, invalid},
	{backend.ErrTooLarge, tooLarge},
	{backend.ErrFull, full},
	{backend.ErrUnknown, unknown},
	{backend.ErrUnavailable, unavailable},
	{backend.ErrDenied, unavailable},
	{backend.ErrClosed, unavailable},
	{context.DeadlineExceeded, unavailable},
	{context.Canceled, unavailable},
}

// refuse makes a problem of an error. What the store or a record says is told:
// operators are to know it. missing is what it means that a key is not there.
func (s *Service) refuse(err error, missing code) error {
	var p *web.Problem
	var conflict *backend.ConflictError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.As(err, &conflict):
		return stale(conflict.Have)
	case errors.Is(err, backend.ErrNotFound) && missing != "":
		return problem(missing, "")
	}
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return problem(v.code, err.Error())
		}
	}
	s.cfg.Log.Error("an error that means nothing to operators", "error", err)
	return web.NewProblem(http.StatusInternalServerError, "internal", "")
}

// stale says that something is not as it was seen. revision is that of now, 0 if it is
// not there or not known.
func stale(revision backend.Revision) *web.Problem {
	p := problem(changed, "")
	if revision != 0 {
		p = p.With("ETag", etag(revision))
	}
	return p
}

// etag names what was read at a revision.
func etag(revision backend.Revision) string { return fmt.Sprintf(`"%d"`, revision) }

// writeProblem answers with an error of a method.
func writeProblem(w http.ResponseWriter, err error) {
	var p *web.Problem
	if !errors.As(err, &p) {
		p = web.NewProblem(http.StatusInternalServerError, "internal", "")
	}
	p.Write(w)
}
