package access

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/admin/access/password"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

func unauthenticated(detail string) *web.Problem {
	return web.NewProblem(http.StatusUnauthorized, "unauthenticated", detail).With("WWW-Authenticate", "Bearer")
}

func forbidden(detail string) *web.Problem {
	return web.NewProblem(http.StatusForbidden, "forbidden", detail)
}

func throttled(retryAfter time.Duration) *web.Problem {
	seconds := strconv.Itoa(int(math.Ceil(retryAfter.Seconds())))
	return web.NewProblem(http.StatusTooManyRequests, "throttled", "too many attempts, try again later").With("Retry-After", seconds)
}

func unavailable(detail string) *web.Problem {
	return web.NewProblem(http.StatusServiceUnavailable, "unavailable", detail).With("Retry-After", "1")
}

func unknown(detail string) *web.Problem {
	return web.NewProblem(http.StatusServiceUnavailable, "unknown", detail)
}

// Problem makes of an error of this package what a client is told: a *web.Problem,
// or the error itself where it is a defect.
func Problem(err error) error {
	var p *web.Problem
	switch {
	case err == nil || errors.As(err, &p):
		return err
	case errors.Is(err, backend.ErrInvalid):
		return web.NewProblem(http.StatusUnprocessableEntity, "invalid", err.Error())
	case errors.Is(err, backend.ErrNotFound):
		return web.NewProblem(http.StatusNotFound, "not_found", "there is no such user or token")
	case errors.Is(err, ErrExists):
		return web.NewProblem(http.StatusConflict, "exists", err.Error())
	case errors.Is(err, ErrLastAdmin):
		return web.NewProblem(http.StatusConflict, "last_admin", err.Error())
	case errors.Is(err, password.ErrBusy):
		return throttled(time.Second)
	case errors.Is(err, backend.ErrUnknown):
		return unknown("the store did not say whether it was done: look before trying again")
	case errors.Is(err, backend.ErrConflict):
		return unavailable("others keep changing the same, try again")
	case errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrFull), errors.Is(err, backend.ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return unavailable("the store can't be asked at present")
	}
	return err
}
