// Command testservers prepares and runs the servers that the tests use.
//
//	go run ./conformance/servers/testservers build [etcd etcdctl consul]
//	go run ./conformance/servers/testservers run [-nodes N] etcd|consul
//
// build prints where it put the binaries; the tests find them there. run starts servers and prints their addresses, one a line, until
// it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/seed27495941/seckill/conformance/servers"
)

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) > 0 && args[0] == "build":
		return build(ctx, args[1:])
	case len(args) > 0 && args[0] == "run":
		return run(ctx, args[1:])
	}
	return errors.New("usage: testservers build [etcd etcdctl consul]\n       testservers run [-nodes N] etcd|consul")
}

func build(ctx context.Context, names []string) error {
	if len(names) == 0 {
		names = servers.Tools()
	}
	for _, name := range names {
		path, err := servers.Binary(ctx, name, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Println(path)
	}
	return nil
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	nodes := flags.Int("nodes", 1, "how many nodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	kind := flags.Arg(0)
	// Flags may stand behind the kind, too.
	if err := flags.Parse(flags.Args()[min(1, flags.NArg()):]); err != nil {
		return err
	}
	c, err := servers.Start(ctx, servers.Config{Kind: servers.Kind(kind), Nodes: *nodes})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s %s (%s), until interrupted\n", c.Kind(), c.Version(), c.Source())
	for _, endpoint := range c.Endpoints() {
		fmt.Println(endpoint)
	}
	<-ctx.Done()
	return c.Close()
}
