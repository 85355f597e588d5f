package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/app/process"
)

type upgradeCommand struct {
	PIDFile string `name:"pid-file" setting:"pid_file" placeholder:"FILE" help:"That of the running process."`
	Binary  string `placeholder:"FILE" type:"path" help:"The program to start (what the running process was started from, as it is now)."`
}

// Help is shown by seckill upgrade --help.
func (*upgradeCommand) Help() string {
	return `The running process starts the new one, with its own arguments and environment, and goes on until that serves; then it
answers what it has begun, and ends. If the new one does not get ready nothing changes, and this command ends with 1.

    seckill api --pid-file=/run/seckill/seckill.pid --endpoints=etcd-1:2379
    seckill upgrade --pid-file=/run/seckill/seckill.pid

To change arguments, start another process yourself, with the same --pid-file: it does likewise. See docs/upgrade.md.`
}

// Run waits until another process serves.
func (c *upgradeCommand) Run(p *program) error {
	s, err := p.settings()
	if err != nil {
		return err
	}
	if s.PIDFile == "" {
		return usageError{errors.New("say with --pid-file which process to replace")}
	}
	stop, _, release := process.Signals(context.Background())
	defer release()
	pid, err := process.Upgrade(stop, s.PIDFile, c.Binary)
	if err != nil {
		return err
	}
	fmt.Println("process", pid, "serves now")
	return nil
}
