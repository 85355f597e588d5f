//go:build !linux

package stores

import "syscall"

// DiesWithTests is what there is of that: nothing.
func DiesWithTests() *syscall.SysProcAttr { return nil }

// isStopped takes the word of the signal.
func isStopped(int) bool { return true }
