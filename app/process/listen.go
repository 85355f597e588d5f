package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen takes an address for a service. flag is what the address was, or can
// be, chosen with: the error says so.
func Listen(ctx context.Context, name, address, flag string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is in use already, choose another address with %s: %w", name, address, flag, err)
	case err != nil:
		return nil, fmt.Errorf("%s: can't listen on the address of %s: %w", name, flag, err)
	}
	return listener, nil
}
