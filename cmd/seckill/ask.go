package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/seed27495941/seckill/backend"
)

// yesFlag is for what can't be undone, or reaches all nodes at once.
type yesFlag struct {
	Yes bool `short:"y" help:"Do not ask whether it is meant."`
}

// confirm asks whether it is meant, and refuses where nobody can be asked.
func (f yesFlag) confirm(ctx context.Context, what string) error {
	switch {
	case f.Yes:
		return nil
	case !isTerminal(os.Stdin):
		return usageError{fmt.Errorf("%s: nobody can be asked whether that is meant, so say --yes", what)}
	}
	answer, err := prompt(ctx, what+"? [y/N] ")
	if err != nil {
		return fmt.Errorf("nothing was done: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

// unseen refuses to replace as a whole what somebody else may have changed since it was
// seen, where nobody can be asked. there is what would be replaced.
func unseen(there string, revision backend.Revision) error {
	return usageError{fmt.Errorf("nobody can be asked whether that replaces the right one: %s, so say --if-revision=%d if that was seen, or --yes whatever it is", there, revision)}
}

// prompt has somebody at a terminal type a line. Half a line is an error.
func prompt(ctx context.Context, question string) (string, error) {
	fmt.Fprint(os.Stderr, question)
	line, err := typed(ctx, func() (string, error) { return bufio.NewReader(os.Stdin).ReadString('\n') })
	if err != nil {
		fmt.Fprintln(os.Stderr)
	}
	return line, err
}

// typed is what read gets from somebody, until ctx ends: a signal ends the program, and
// with it the read that still waits.
func typed(ctx context.Context, read func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := read()
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case a := <-answers:
		return a.text, a.err
	}
}

// An asker asks for what nobody else is to see.
type asker struct{ in *bufio.Reader }

func (a *asker) secret(ctx context.Context, what string) (text string, err error) {
	if isTerminal(os.Stdin) {
		text, err = hidden(ctx, what+": ")
	} else if text, err = typed(ctx, func() (string, error) { return a.in.ReadString('\n') }); errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		return "", err
	}
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return "", usageError{fmt.Errorf("%s: nothing was given", strings.ToLower(what))}
	}
	return text, nil
}

// hidden has somebody at a terminal type a line that is not shown. However that ends,
// what is typed next is shown again.
func hidden(ctx context.Context, question string) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(os.Stderr, question)
	text, err := typed(ctx, func() (string, error) {
		line, err := term.ReadPassword(fd)
		return string(line), err
	})
	fmt.Fprintln(os.Stderr)
	return text, errors.Join(err, term.Restore(fd, before))
}

// newSecret asks twice where nobody sees what is typed.
func (a *asker) newSecret(ctx context.Context) (string, error) {
	text, err := a.secret(ctx, "New password")
	if err != nil || !isTerminal(os.Stdin) {
		return text, err
	}
	again, err := a.secret(ctx, "New password again")
	if err == nil && again != text {
		err = errors.New("that was another one: the password has not been changed")
	}
	return text, err
}
