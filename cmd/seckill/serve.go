package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/process"
)

type apiCommand struct {
	apiFlags
	serviceFlags
	successionFlags
}

// Run serves buyers until a signal comes.
func (*apiCommand) Run(p *program) error { return serve(p, app.Options{API: true}) }

type adminCommand struct {
	adminFlags
	serviceFlags
	successionFlags
}

// Run serves operators until a signal comes.
func (*adminCommand) Run(p *program) error { return serve(p, app.Options{Admin: true}) }

// serve runs services on a store that runs elsewhere.
func serve(p *program, o app.Options) (err error) {
	if o.Loaded, err = p.load(); err != nil {
		return err
	}
	o.Settings = o.Loaded.Settings
	s, err := open(o.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	o.Store = s
	o.Log, o.Level = logger(o.Settings)
	stop, abort, release := process.Signals(context.Background())
	defer release()
	return runServices(stop, abort, o)
}

// tellFirstPassword tells who has started the process, and no log.
func tellFirstPassword(user, oneTime string) {
	fmt.Fprintf(os.Stderr, "\nseckill: there are no operators yet: log in as %s with the password %s, which is for one use, and choose another one\n\n", user, oneTime)
}

func runServices(stop, abort context.Context, o app.Options) error {
	o.Version = buildVersion().Version
	o.FirstPassword = tellFirstPassword
	o.Log.Info("starting", "version", o.Version, "backend", o.Settings.Backend)
	return app.Run(stop, abort, o)
}
