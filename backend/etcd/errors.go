package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/seed27495941/seckill/backend"
)

// proposalDropped is how etcd passes on raft's error of this name: the member
// had no leader to propose to, so nothing was proposed.
const proposalDropped = "raft proposal dropped"

// A fault is a failed attempt at a call: what the client library said, and
// whether the request may have reached a server.
type fault struct {
	err  error
	sent bool
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// class tells which of the contract's errors a fault is. It goes by the
// server's text where there is one: etcd's codes are too coarse (no space and
// too many requests share one).
func (f *fault) class(write bool) error {
	if class := refusal(f.err); class != nil {
		return class
	}
	if write && f.sent && !notProposed(f.err) {
		return backend.ErrUnknown
	}
	return backend.ErrUnavailable
}

// failure is the error of a write. The answer that there is no space may come
// from before the write was proposed or, for those that arrive while the store
// fills up, from after it was applied (etcd's quotaApplierV3), and does not say
// which: such an error is of both classes.
func (f *fault) failure(ctx context.Context, op, key string) error {
	class, cause := f.class(true), f.err
	if errors.Is(class, backend.ErrFull) {
		cause = fmt.Errorf("%w: %w", backend.ErrUnknown, cause)
	}
	return backend.Failure(ctx, class, op, key, cause)
}

// refusal is the class of an error by which the server refused for good.
func refusal(err error) error {
	switch known := rpctypes.Error(err); {
	case errors.Is(known, rpctypes.ErrLeaseNotFound):
		return backend.ErrLeaseLost
	case errors.Is(known, rpctypes.ErrLeaseTTLTooLarge):
		return backend.ErrInvalid
	case errors.Is(known, rpctypes.ErrNoSpace):
		return backend.ErrFull
	case errors.Is(known, rpctypes.ErrRequestTooLarge), errors.Is(known, rpctypes.ErrTooManyOps):
		return backend.ErrTooLarge
	case errors.Is(known, rpctypes.ErrTooManyRequests):
		return nil
	case errors.Is(known, rpctypes.ErrPermissionDenied),
		errors.Is(known, rpctypes.ErrAuthFailed),
		errors.Is(known, rpctypes.ErrUserNotFound),
		errors.Is(known, rpctypes.ErrPermissionNotGranted),
		staleLogin(err):
		return backend.ErrDenied
	}
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied:
		return backend.ErrDenied
	case codes.ResourceExhausted: // gRPC's own limits
		return backend.ErrTooLarge
	}
	return nil
}

// staleLogin reports whether the server wants a newer login: nothing was
// applied and the call may be repeated with one.
func staleLogin(err error) bool {
	known := rpctypes.Error(err)
	return errors.Is(known, rpctypes.ErrInvalidAuthToken) ||
		errors.Is(known, rpctypes.ErrUserEmpty) ||
		errors.Is(known, rpctypes.ErrAuthOldRevision)
}

// notProposed reports whether the server certainly did not put the request
// into its log.
func notProposed(err error) bool {
	return unfit(err) || errors.Is(rpctypes.Error(err), rpctypes.ErrTooManyRequests)
}

// unfit reports whether the member refused a request because it knew of no
// leader or is a learner. All these are only ever said before anything is
// proposed, and another member may well take the request.
func unfit(err error) bool {
	known := rpctypes.Error(err)
	return errors.Is(known, rpctypes.ErrNoLeader) ||
		errors.Is(known, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)) ||
		rpctypes.ErrorDesc(err) == proposalDropped
}

// passing reports whether a read may have a better answer a moment later.
func passing(err error) bool {
	return status.Code(err) == codes.Unavailable || unfit(err)
}

// loginErrors are those by which a server may refuse a watch.
var loginErrors = []error{
	rpctypes.ErrGRPCInvalidAuthToken,
	rpctypes.ErrGRPCAuthOldRevision,
	rpctypes.ErrGRPCUserEmpty,
	rpctypes.ErrGRPCPermissionDenied,
}
