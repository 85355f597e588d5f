package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/seed27495941/seckill/app/admin/audit"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/retry"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
	"github.com/seed27495941/seckill/recipe/election"
)

// A Config says what an admin does when it leads.
type Config struct {
	Store backend.Store
	Audit *audit.Log // of that store
	ID    string     // of this admin, for people; "<host>/<process id>" if empty

	ArchiveDir   string        // where sales are archived; empty: they are not
	ArchiveAfter time.Duration // how long after it could be closed a sale is archived
	Retention    audit.Retention
	HistoryKeep  int // config versions, 0: history.DefaultKeep

	// Sessions deletes sessions that have expired, with conditions on every write. Nil:
	// nobody does.
	Sessions func(ctx context.Context, conds ...backend.Condition) error

	// Settle is how long a publishing or closing that has begun is left to whoever is at
	// it. 0: a minute.
	Settle time.Duration

	TTL    time.Duration // of the election's leases, 0: as there
	Logger *slog.Logger  // nil: silent
}

// Validate says what is wrong with a config: ErrInvalid.
func (c Config) Validate() error {
	if c.ArchiveAfter < 0 || c.Settle < 0 {
		return fmt.Errorf("%w: jobs: archive after %v, settle for %v: expected no time that is negative", backend.ErrInvalid, c.ArchiveAfter, c.Settle)
	}
	return c.Retention.Validate()
}

// electionName is the key that the admins' election is under.
const electionName = "elections/admin"

// A Runner is one admin's part in the jobs.
type Runner struct {
	cfg      Config
	log      *slog.Logger
	election *election.Election
	clock    *clock
	files    *files
}

// New prepares to take part; nothing is sent. Errors: ErrInvalid.
func New(cfg Config) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Settle = cmp.Or(cfg.Settle, time.Minute)
	if _, err := history.New(cfg.Store, settings.ConfigKey, history.Options{Keep: cfg.HistoryKeep}); err != nil {
		return nil, err
	}
	e, err := election.New(cfg.Store, electionName, election.Config{TTL: cfg.TTL, ID: cfg.ID, Logger: cfg.Logger})
	return &Runner{cfg: cfg, log: cfg.Logger, election: e, clock: newClock(), files: newFiles()}, err
}

// pauses between attempts after trouble, which grow up to the longest.
func pauses(first, longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: first, MaxInterval: longest, Multiplier: 2, RandomizationFactor: 0.5}
}

// patient is how long a job waits at most after trouble: with a store that is away
// nothing else is at fault, and nothing is recorded.
const patient = 5 * time.Minute

// Run stands for election, does the jobs while this admin leads, and stands again when
// the term is lost. It returns nil when ctx ends, after the term was given up, and early
// only if that can't help: ErrClosed, ErrInvalid.
func (r *Runner) Run(ctx context.Context) error {
	pause := pauses(time.Second, patient)
	for {
		term, err := r.election.Campaign(ctx, "")
		switch {
		case err == nil:
			pause.Reset()
			r.lead(ctx, term)
			continue
		case ctx.Err() != nil:
			return nil //nolint:nilerr // that is how it ends
		case errors.Is(err, backend.ErrClosed) || errors.Is(err, backend.ErrInvalid):
			return err
		}
		r.log.Warn("can't stand for the jobs' election, will be tried again", "error", err)
		retry.Sleep(ctx, pause.NextBackOff())
	}
}

// farewell bounds how long a term is given up. It expires otherwise.
const farewell = 3 * time.Second

// lead does the jobs until the term ends, or ctx.
func (r *Runner) lead(ctx context.Context, term *election.Term) {
	working, stop := context.WithCancel(ctx)
	store := fenced{r.cfg.Store, term.Guard()}
	d := &duty{
		Config: r.cfg,
		guard:  term.Guard(),
		store:  store,
		audit:  r.cfg.Audit.With(store),
		by:     r.election.ID(),
		term:   term.Token(),
		log:    r.log,
		events: newListing(),
		clock:  r.clock,
		files:  r.files,
	}
	var all sync.WaitGroup
	for _, j := range d.jobs() {
		j.log = r.log.With("job", j.name)
		all.Go(func() { d.keep(working, j) })
		if j.follow != nil {
			all.Go(func() { j.follow(working, j.log) })
		}
	}
	select {
	case <-ctx.Done():
	case <-term.Lost():
		r.log.Warn("the jobs' term was lost", "error", term.Err())
	}
	stop()
	all.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := term.Resign(ctx); err != nil {
		r.log.Warn("the jobs' term was not given up, it will expire", "error", err)
	}
}

// A duty is the jobs of one term.
type duty struct {
	Config
	store backend.Store // fenced
	guard backend.Condition
	audit *audit.Log // through store
	by    string
	term  backend.Revision
	log   *slog.Logger

	events *listing
	clock  *clock // of the process, as the following
	files  *files
}

// A job is something that is done again and again.
type job struct {
	name  string
	every time.Duration
	log   *slog.Logger

	// run does what there is to do, and says what it has done. It is called again after
	// an error, with a backoff up to the longest pause.
	run     func(ctx context.Context) (result, error)
	longest time.Duration

	// final: what it does because the clock says that it is time can't be undone, be it
	// only a note or a logout. So it is not done by a clock that is in doubt.
	final bool

	// woken has it run now, which follow sees to; nil for jobs that only go by time.
	woken  <-chan struct{}
	follow func(ctx context.Context, log *slog.Logger)
}

// A result is what a run came to.
type result struct {
	text     string
	problems error     // that are no reason to run again soon
	next     time.Time // when there is something to do again; zero: not known
}

// soonest makes the next run not later than at.
func (r *result) soonest(at time.Time) {
	if r.next.IsZero() || at.Before(r.next) {
		r.next = at
	}
}

// due reports whether it is time for something; if not, the next run is then.
func (r *result) due(at time.Time) bool {
	if time.Now().Before(at) {
		r.soonest(at)
		return false
	}
	return true
}

// often is how soon jobs notice events that they did not know of.
const often = 30 * time.Second

// rarely is how often what fails for days is tried again: each attempt may be recorded.
const rarely = 4 * time.Hour

func (d *duty) jobs() []job {
	jobs := []job{
		{name: "publish", every: often, longest: patient, run: d.each("publish", (*sales).publish)},
		{name: "windows", every: often, longest: patient, run: d.each("windows", (*sales).windows), final: true},
		{name: "close", every: often, longest: patient, run: d.each("close", (*sales).close), final: true},
		{name: "audit", every: time.Hour, longest: rarely, run: d.prune, final: true},
		d.history(),
	}
	if d.ArchiveDir != "" {
		jobs = append(jobs, job{name: "archive", every: time.Minute, longest: patient, run: d.each("archive", (*sales).archive), final: true})
	}
	if d.Sessions != nil {
		jobs = append(jobs, job{name: "sessions", every: 10 * time.Minute, longest: patient, run: d.sessions, final: true})
	}
	return jobs
}

// keep does one job until ctx ends.
func (d *duty) keep(ctx context.Context, j job) {
	pause := pauses(time.Second, j.longest)
	s := Status{Name: j.name, Term: d.term, By: d.by}
	for ctx.Err() == nil {
		s.Started = now()
		came, err := d.once(ctx, j)
		if ctx.Err() != nil {
			return // whatever came of it, the next leader will see
		}
		wait := j.every
		if err == nil {
			pause.Reset()
			if !came.next.IsZero() {
				wait = min(wait, max(time.Until(came.next), 0))
			}
		} else {
			wait = pause.NextBackOff()
		}
		s.took(came, errors.Join(err, came.problems), wait, j.log)
		d.tell(ctx, s, j.log)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-j.woken:
		}
		timer.Stop()
	}
}

// once does a job, unless it should not be done by this clock: that is a problem, and
// soon looked at again.
func (d *duty) once(ctx context.Context, j job) (result, error) {
	doubt, err := d.clock.doubt(ctx, d.store, d.by)
	switch {
	case !j.final:
		return j.run(ctx) // whatever the clock says
	case err != nil:
		return result{}, err
	case doubt != nil:
		return result{text: "nothing is done by a clock that is in doubt", problems: doubt, next: time.Now().Add(often)}, nil //nolint:nilerr // that is told as a problem
	}
	return j.run(ctx)
}

// now is the time as it is recorded.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// action is one of a job, for the audit log.
func (d *duty) action(name, target string) audit.Action {
	return audit.Action{Name: name, Target: target, Actor: d.by, Via: audit.ViaJob}
}
