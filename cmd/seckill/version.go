package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: see the Makefile.
var version string

type versionCommand struct {
	Output string `enum:"text,json" default:"text" help:"text or json."`
}

// Run shows the version.
func (c *versionCommand) Run() error {
	b := buildVersion()
	if c.Output == "json" {
		return json.NewEncoder(os.Stdout).Encode(b)
	}
	_, err := fmt.Printf("seckill %s (%s, %s)\n", b.Version, b.Go, b.Platform)
	return err
}

type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// buildVersion tells what was built: as the linker was told, else as the go
// command found out.
func buildVersion() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	return b
}
