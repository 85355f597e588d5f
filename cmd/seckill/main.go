// Command seckill is a flash sale whose only shared state is etcd or Consul.
// See seckill --help.
package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/lock"
)

// Exit codes, as the help says.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitConflict = 3
)

func main() {
	started := time.Now()
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if err := run(args, started); err != nil {
		if !errors.As(err, new(childError)) {
			fmt.Fprintln(os.Stderr, "seckill:", err)
		}
		os.Exit(exitCode(err))
	}
}

func run(args []string, started time.Time) error {
	c := &cli{}
	parser, err := kong.New(c,
		kong.Name("seckill"),
		kong.Description(description),
		kong.ExplicitGroups(groups),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return usageError{err}
	}
	return parsed.Run(&program{started: started, file: c.Config, flags: given(parsed)})
}

// A usageError is about what was asked for, not about how it went.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	var usage usageError
	var child childError
	var refusal *client.Error
	switch {
	case errors.As(err, &refusal):
		return exitCodeOf(refusal.Status)
	case errors.As(err, &child):
		return child.code
	case errors.As(err, &usage), errors.Is(err, backend.ErrInvalid):
		return exitUsage
	case errors.Is(err, backend.ErrConflict), errors.Is(err, lock.ErrLocked), errors.Is(err, event.ErrStatus):
		return exitConflict
	}
	return exitFailure
}

// exitCodeOf is that of a refusal by the admin service.
func exitCodeOf(status int) int {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return exitUsage
	case http.StatusConflict, http.StatusPreconditionFailed:
		return exitConflict
	}
	return exitFailure
}
