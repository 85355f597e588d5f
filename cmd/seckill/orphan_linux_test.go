package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// testPID has the pid of a test that a process may not outlive. diesWithTests is not
// for those that the test's children start.
const testPID = "SECKILL_TEST_PID"

// endWithTest ends this process with the test that it works for, if it is told which that is.
func endWithTest() {
	pid, err := strconv.Atoi(os.Getenv(testPID))
	if err != nil {
		return
	}
	go func() { // ends with the process
		for syscall.Kill(pid, 0) == nil {
			time.Sleep(time.Second)
		}
		os.Exit(1)
	}()
}

// diesWithTests ends a process when its parent ends, also when that is killed
// or runs into its time limit, where no cleanup runs.
func diesWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
