package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/seed27495941/seckill/app/process"
)

// editUntil has a text edited until use takes it: what makes no sense (exitUsage) is edited
// again, if somebody is there to do so. A text that was not taken stays in a file, which
// is named. The file's name is made of a pattern, as by [os.CreateTemp].
func editUntil(pattern, text string, use func(text string) error) (err error) {
	// Ctrl-C is for the editor, which gets it too, and must not keep the file from being named.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)

	draft, err := writeDraft(pattern, text)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w; the text is in %s", err, draft)
			return
		}
		err = os.Remove(draft)
	}()
	for {
		if err := edit(draft); err != nil {
			return err
		}
		text, err := readText(draft)
		if err != nil {
			return err
		}
		err = use(text)
		if err == nil || exitCode(err) != exitUsage || !isTerminal(os.Stdin) {
			return err
		}
		fmt.Fprintln(os.Stderr, "seckill:", err)
		if wantsAnother() != nil {
			return err
		}
	}
}

// wantsAnother asks whether to go on.
func wantsAnother() error {
	ctx, _, release := process.Signals(context.Background())
	defer release()
	_, err := prompt(ctx, "Enter edits it again, Ctrl-D gives up ")
	return err
}

func writeDraft(pattern, text string) (name string, err error) {
	file, err := os.CreateTemp("", pattern)
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(text)
	return file.Name(), errors.Join(err, file.Close())
}

// edit runs the editor, which may come with arguments, as it does for git.
func edit(file string) error {
	words := strings.Fields(cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi"))
	if len(words) == 0 {
		return usageError{errors.New("$VISUAL, or $EDITOR, is blank")}
	}
	editor := exec.Command(words[0], append(words[1:], file)...) //nolint:gosec // who types this chooses it, and ends it
	editor.Stdin, editor.Stdout, editor.Stderr = os.Stdin, os.Stderr, os.Stderr
	if err := editor.Run(); err != nil {
		return fmt.Errorf("%s: %w", words[0], err)
	}
	return nil
}
