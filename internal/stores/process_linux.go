package stores

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// DiesWithTests ends a process when its parent ends, also when that is killed
// and the child is paused.
func DiesWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// isStopped reports whether all of a process has been stopped: proc(5), the
// state after the command's name, which may have brackets in it.
func isStopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(stat, ')')
	return err == nil && i >= 0 && bytes.HasPrefix(stat[i:], []byte(") T"))
}
