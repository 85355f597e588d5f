package main

import (
	"os"

	"github.com/schollz/progressbar/v3"
)

// A bar tells somebody who is waiting at a terminal how far it is; nobody else.
type bar struct{ shown *progressbar.ProgressBar }

func progress(steps int, what string) bar {
	if !isTerminal(os.Stderr) {
		return bar{}
	}
	return bar{progressbar.NewOptions(steps, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())}
}

func (b bar) step() {
	if b.shown != nil {
		_ = b.shown.Add(1) // it only shows
	}
}

func (b bar) end() {
	if b.shown != nil {
		_ = b.shown.Exit()
	}
}
