//go:build !linux

package process_test

import "errors"

// Processes are handed over on Linux alone.
func isNode() bool { return false }

func runNode() error { return errors.ErrUnsupported }
