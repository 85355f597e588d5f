package slot

import "errors"

// Answers that are no order. Those of package ledger are answers too.
var (
	// ErrUndecided says that nothing is known: the owner was deposed, or the
	// store did not confirm in time. The same request, made again, gets the one
	// true answer.
	ErrUndecided = errors.New("undecided: try again")

	// ErrBusy says that too many requests wait already; nothing was done.
	ErrBusy = errors.New("too many requests are waiting: try again")

	ErrSoldOut    = errors.New("sold out")
	ErrNotStarted = errors.New("the sale has not started")
	ErrEnded      = errors.New("the sale has ended")
	ErrOffline    = errors.New("the sale is suspended")
)

// ErrDeposed says that another process owns the slot now.
var ErrDeposed = errors.New("the slot has another owner")

// ErrClosed says that the sale is over for good.
var ErrClosed = errors.New("the sale is closed")

// ErrOpen says that the sale is not closed, so that its log may still grow.
var ErrOpen = errors.New("the slot is not closed")
