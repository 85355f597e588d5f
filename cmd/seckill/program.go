package main

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/seed27495941/seckill/app/settings"
)

// A program is what every command is run with.
type program struct {
	started time.Time
	file    string
	flags   []settings.Flag
}

// given lists the settings among the flags on the command line.
func given(parsed *kong.Context) []settings.Flag {
	var flags []settings.Flag
	for _, step := range parsed.Path {
		if step.Flag == nil {
			continue
		}
		if key := step.Flag.Tag.Get("setting"); key != "" {
			flags = append(flags, settings.Flag{Name: "--" + step.Flag.Name, Key: key, Value: parsed.FlagValue(step.Flag)})
		}
	}
	return flags
}

// settings loads what holds for this process.
func (p *program) settings() (settings.Settings, error) {
	loaded, err := p.load()
	return loaded.Settings, err
}

// load is for processes that follow the settings' file.
func (p *program) load() (settings.Loaded, error) {
	loaded, err := settings.Open(settings.Sources{File: p.file, Environ: os.Environ(), Flags: p.flags})
	if err != nil {
		return loaded, usageError{err}
	}
	for _, warning := range loaded.Settings.Warnings {
		fmt.Fprintln(os.Stderr, "seckill: warning:", warning)
	}
	return loaded, nil
}

// logger makes the log of a service, and its level for the cluster config to
// change.
func logger(s settings.Settings) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(s.Config.Level())
	options := &slog.HandlerOptions{Level: level}
	if s.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level
}
