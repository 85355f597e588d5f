package main

import "syscall"

// diesWithTests ends a process when its parent ends, also when that is killed
// or runs into its time limit, where no cleanup runs.
func diesWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
