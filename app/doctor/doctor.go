// Package doctor examines the store that a process would use: whether it can be
// reached, whether it lets the process do what it needs, how fast it is, and
// what will be trouble some day. Each check ends in a verdict, what was found,
// and what to do about it.
//
// An examination leaves nothing behind. All it writes is one small key below
// doctor/, which hangs on a lease and goes with it: at the end, or if the
// process is killed, when the lease expires.
package doctor

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

const (
	// probeTTL is that of the lease that the probe hangs on: long enough for
	// any check, and how long a killed examination is remembered (on Consul,
	// twice as long).
	probeTTL = 10 * time.Second

	// silences is how many checks in a row may use up their time before the
	// rest is not tried. One alone may have a reason of its own: a proxy that
	// holds back watches.
	silences = 2

	// checksTime is how many checks may use up their time altogether.
	checksTime = 6

	// goodbyeTime bounds the removal of the probe.
	goodbyeTime = 2 * time.Second
)

// Run examines a store that was opened with the settings. It returns a finding
// for each check, always the same ones in the same order: those of the driver,
// if that is a [backend.Diagnoser], and then those that take nothing but the
// contract. What could not be tried, because it needs something that failed
// before, or because ctx ended, is VerdictUnknown.
//
// A check may take as long as a request may (settings' Store.RequestTimeout),
// all of them six times that and some two seconds.
func Run(ctx context.Context, s backend.Store, set settings.Settings) []backend.Finding {
	bound := cmp.Or(set.Store.RequestTimeout, backend.DefaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, checksTime*bound, fmt.Errorf("the time for all checks, %v, was up", checksTime*bound))
	defer cancel()
	id := rand.Text()[:10]
	e := &examination{
		store:  s,
		advice: adviceFor(set),
		ttl:    set.Node.TTL,
		bound:  bound,
		probe:  "doctor/probe-" + id,
		other:  "doctor/other-" + id,
	}
	defer e.goodbye(ctx)

	found := e.diagnose(ctx)
	for _, c := range []check{
		{"reach", e.reach},
		{"right-lease", e.rightLease},
		{"right-put-with-lease", e.rightPutWithLease},
		{"right-put-if", e.rightPutIf},
		{"right-get", e.rightGet},
		{"right-watch", e.rightWatch},
		{"right-delete", e.rightDelete},
		{"round-trip", e.roundTrip},
		{"lease-bounds", e.leaseBounds},
		{"foreign-keys", e.foreignKeys},
	} {
		f := e.attempt(ctx, c)
		f.Check = c.name
		found = append(found, f)
	}
	return found
}

type check struct {
	name string
	look func(ctx context.Context) backend.Finding
}

// An examination is what one run has learnt so far.
type examination struct {
	store  backend.Store
	advice advice
	ttl    time.Duration // of the leases of nodes
	bound  time.Duration // of a check
	probe  string        // the key that is written
	other  string        // a key that is never written

	blocked string           // why nothing more is tried, "" if it is
	silent  int              // checks in a row that used up their time
	lease   backend.Lease    // nil: refused
	written backend.Revision // of the probe; 0: it can't be written
	foreign *uint64          // keys of others that the watch left out; nil: it did not come to that
}

// diagnose has the driver look. If it can't get through to the store, nothing
// else is tried.
func (e *examination) diagnose(ctx context.Context) []backend.Finding {
	d, ok := e.store.(backend.Diagnoser)
	if !ok {
		return nil
	}
	found := d.Diagnose(ctx)
	for i := range found {
		f := &found[i]
		if f.Verdict == backend.VerdictFail && f.Check == "endpoints" {
			e.blocked = "no endpoint answers"
		}
		if f.Verdict == backend.VerdictFail && f.Check == "credentials" {
			e.blocked = "the credentials are refused"
		}
		e.advice.complete(f)
	}
	return found
}

// attempt makes a check within its bound, unless it would be in vain.
func (e *examination) attempt(ctx context.Context, c check) backend.Finding {
	if e.blocked != "" {
		return untried(e.blocked)
	}
	bounded, cancel := context.WithTimeout(ctx, e.bound)
	defer cancel()
	f := c.look(bounded)
	switch {
	case ctx.Err() != nil:
		return untried(context.Cause(ctx).Error())
	case bounded.Err() == nil:
		e.silent = 0
		return f
	}
	if e.silent++; e.silent == silences {
		e.blocked = "the store does not answer any more"
	}
	return f
}

// goodbye takes the probe and its lease back. If that fails they expire.
func (e *examination) goodbye(ctx context.Context) {
	if e.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTime)
	defer cancel()
	_ = e.lease.Close(ctx)
}

func fine(format string, args ...any) backend.Finding {
	return backend.Finding{Verdict: backend.VerdictOK, Found: fmt.Sprintf(format, args...)}
}

func bad(remedy, format string, args ...any) backend.Finding {
	return backend.Finding{Verdict: backend.VerdictFail, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func untried(why string) backend.Finding {
	return backend.Finding{Verdict: backend.VerdictUnknown, Found: "not tried: " + why}
}
