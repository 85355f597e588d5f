//go:build !linux

package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
)

var errUnsupported = errors.New("PID files, and handing a process's place over to another, need Linux")

// A succession does not exist here.
type succession struct{}

func newSuccession(context.Context, SeatConfig) (*succession, error) { return nil, errUnsupported }

func (*succession) succeeds() bool                      { return false }
func (*succession) inherit(string, string) net.Listener { return nil }
func (*succession) vacated() <-chan struct{}            { return nil }
func (*succession) handedOver() bool                    { return false }
func (*succession) whileWanted(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
func (*succession) step(context.Context) error                          { return errUnsupported }
func (*succession) settle(context.Context) error                        { return errUnsupported }
func (*succession) offer(context.Context, []namedListener, func(error)) {}
func (*succession) close(context.Context) error                         { return nil }

// Upgrade has the process that a PID file names replaced. It needs Linux.
func Upgrade(context.Context, string, string) (int, error) { return 0, errUnsupported }

// notify: only Linux has systemd.
func notify(*slog.Logger, ...string) {}
