package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/client"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

const configPath = "/v1/config"

type configCommand struct {
	Get         configGet         `cmd:"" help:"Print what is published, or was."`
	Set         configSet         `cmd:"" help:"Publish a config."`
	Edit        configEdit        `cmd:"" help:"Change what is published in an editor, and publish that."`
	Validate    configValidate    `cmd:"" help:"Tell what would be wrong with a config."`
	Diff        configDiff        `cmd:"" help:"Tell what a config would change."`
	History     configHistory     `cmd:"" help:"List the versions, the newest first."`
	Rollback    configRollback    `cmd:"" help:"Publish an earlier version again."`
	Delete      configDelete      `cmd:"" help:"Delete the config: nodes go by their own settings then."`
	Consistency configConsistency `cmd:"" help:"Tell whether the nodes have in force what they should."`
	Rollout     rolloutCommand    `cmd:"" help:"Try a config on some of the nodes first."`

	remoteFlags
	outputFlag
}

// Help is shown by seckill config --help.
func (*configCommand) Help() string {
	return `These go over the operators' API: 'seckill login' first. What is in a config: docs/hot-settings.md.

    seckill config get > config.json
    seckill config diff config.json
    seckill config set config.json --comment="less noise"
    seckill config history
    seckill config rollback 17 --comment="that was too little"

'set' and 'rollout start' show what they change before they ask whether that is meant. Where nobody can be asked they take --if-revision, with
the revision that was seen ('get --output=json' has it), or --yes, which replaces whatever is published. If somebody else was faster the exit
code is 3.`
}

// fileArg is a config as a file.
type fileArg struct {
	File string `arg:"" help:"File with the config, JSON; - for the standard input."`
}

// whyFlag is for what is in the history for good.
type whyFlag struct {
	Comment string `required:"" placeholder:"TEXT" help:"Why, for the history."`
}

// onFlag says which version was seen.
type onFlag struct {
	IfRevision *uint64 `placeholder:"N" help:"Only if this is the revision that is published; 0: if none is. Without it, what is published now."`
}

// etag is that of the version which a change is made on.
func (f onFlag) etag(ctx context.Context, r remote) (string, error) {
	if f.IfRevision != nil {
		return client.ETag(backend.Revision(*f.IfRevision)), nil
	}
	_, _, etag, err := publishedConfig(ctx, r)
	return etag, err
}

// publishedConfig is what the store has.
func publishedConfig(ctx context.Context, r remote) (state admin.ConfigState, a client.Answer, etag string, err error) {
	if a, err = r.get(ctx, configPath, nil); err != nil {
		return state, a, "", err
	}
	if err = a.Decode(&state); err == nil && state.Published.Error != "" {
		err = fmt.Errorf("what is published is not known: %s", state.Published.Error)
	}
	return state, a, client.ETag(state.Published.Revision), err
}

type configGet struct {
	Revision uint64 `placeholder:"N" help:"That of an earlier version."`
}

// Run prints a config as it was written.
func (c *configGet) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		if c.Revision != 0 {
			return c.version(ctx, r)
		}
		state, a, _, err := publishedConfig(ctx, r)
		switch {
		case r.json && len(a.Body) > 0:
			return errors.Join(show(r, a, func(any) error { return nil }), err)
		case err != nil:
			return err
		case !state.Published.Exists:
			return errors.New("no config is published: the nodes go by their own settings")
		}
		return r.value(backend.Entry{Value: []byte(state.Published.Value)})
	})
}

func (c *configGet) version(ctx context.Context, r remote) error {
	a, err := r.get(ctx, client.Path("v1", "config", "history", strconv.FormatUint(c.Revision, 10)), nil)
	if err != nil {
		return err
	}
	return show(r, a, func(v admin.ConfigVersion) error {
		if v.Omitted {
			return fmt.Errorf("the text of revision %d was too large to be kept", c.Revision)
		}
		return r.value(backend.Entry{Value: []byte(v.Value)})
	})
}

// replaceFlags are for a config that replaces another one as a whole.
type replaceFlags struct {
	onFlag
	yesFlag
}

// etag is that of the version which text replaces. Somebody at a terminal is shown what
// that changes, and asked; elsewhere it has to be said.
func (f replaceFlags) etag(ctx context.Context, r remote, text, question string) (string, error) {
	switch asked := isTerminal(os.Stdin); {
	case f.Yes, !asked && f.IfRevision != nil:
		return f.onFlag.etag(ctx, r)
	case !asked:
		state, _, _, err := publishedConfig(ctx, r)
		if err != nil {
			return "", err
		}
		there := "none is published"
		if state.Published.Exists {
			there = fmt.Sprintf("revision %d is published", state.Published.Revision)
		}
		return "", unseen(there, state.Published.Revision)
	}
	d, err := reviewConfig(ctx, r, text)
	if err != nil {
		return "", err
	}
	etag := client.ETag(d.Revision)
	if f.IfRevision != nil {
		etag = client.ETag(backend.Revision(*f.IfRevision))
	}
	return etag, f.confirm(ctx, question)
}

// reviewConfig shows somebody what a config would change, or what is wrong with it.
func reviewConfig(ctx context.Context, r remote, text string) (d admin.Difference, err error) {
	v, _, err := validateConfig(ctx, r, text)
	switch {
	case err != nil:
		return d, err
	case !v.Valid:
		for _, f := range v.Faults {
			fmt.Fprintln(os.Stderr, faultText(f))
		}
		return d, errInvalidConfig
	}
	if d, _, err = diffConfig(ctx, r, text); err == nil {
		fmt.Fprint(os.Stderr, legible(d.Unified))
	}
	return d, err
}

type configSet struct {
	fileArg
	whyFlag
	replaceFlags
}

// Run publishes a config.
func (c *configSet) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		text, err := readText(c.File)
		if err != nil {
			return err
		}
		etag, err := c.etag(ctx, r, text, "Publish that, to all nodes")
		if err != nil {
			return err
		}
		return publishConfig(ctx, r, text, c.Comment, etag)
	})
}

func publishConfig(ctx context.Context, r remote, text, comment, etag string) error {
	a, err := r.Do(ctx, client.Request{Method: http.MethodPut, Path: configPath, IfMatch: etag, Body: map[string]string{"value": text, "comment": comment}})
	if err != nil {
		return err
	}
	return showPublished(r, a)
}

func showPublished(r remote, a client.Answer) error {
	return show(r, a, func(v admin.ConfigVersion) error {
		return r.line("published as revision %d, hash %s", v.Revision, v.Hash)
	})
}

type configValidate struct{ fileArg }

// errInvalidConfig is said after what is wrong.
var errInvalidConfig = usageError{errors.New("the config can't be used")}

// Run tells what would be wrong with a config.
func (c *configValidate) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		text, err := readText(c.File)
		if err != nil {
			return err
		}
		v, a, err := validateConfig(ctx, r, text)
		if err != nil {
			return err
		}
		err = show(r, a, func(admin.Validation) error {
			if v.Valid {
				return r.line("valid")
			}
			return r.faults(v)
		})
		if err == nil && !v.Valid {
			err = errInvalidConfig
		}
		return err
	})
}

func validateConfig(ctx context.Context, r remote, text string) (v admin.Validation, a client.Answer, err error) {
	a, err = r.Do(ctx, client.Request{Method: http.MethodPost, Path: configPath + "/validate", Body: map[string]string{"value": text}})
	if err == nil {
		err = a.Decode(&v)
	}
	return v, a, err
}

type configDiff struct{ fileArg }

// Run tells what a config would change.
func (c *configDiff) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		text, err := readText(c.File)
		if err != nil {
			return err
		}
		d, a, err := diffConfig(ctx, r, text)
		if err != nil {
			return err
		}
		return show(r, a, func(admin.Difference) error {
			return r.text(d.Unified)
		})
	})
}

func diffConfig(ctx context.Context, r remote, text string) (d admin.Difference, a client.Answer, err error) {
	a, err = r.Do(ctx, client.Request{Method: http.MethodPost, Path: configPath + "/diff", Body: map[string]string{"value": text}})
	if err == nil {
		err = a.Decode(&d)
	}
	return d, a, err
}

// pageFlags ask for a part of a list.
type pageFlags struct {
	After string `placeholder:"NEXT" help:"Go on where the list before has ended."`
	Limit int    `default:"50" help:"How many at most."`
}

func (f pageFlags) query() url.Values {
	q := url.Values{"limit": {strconv.Itoa(f.Limit)}}
	if f.After != "" {
		q.Set("after", f.After)
	}
	return q
}

type configHistory struct{ pageFlags }

// Run lists the versions.
func (c *configHistory) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, configPath+"/history", c.query())
		if err != nil {
			return err
		}
		return show(r, a, func(list admin.VersionList) error {
			var rows [][]string
			for _, v := range list.Versions {
				hash := v.Hash
				if v.Deleted {
					hash = "deleted"
				}
				rows = append(rows, []string{strconv.FormatUint(uint64(v.Revision), 10), moment(v.Time), v.Author, hash, v.Comment})
			}
			defer r.more(list.Next)
			r.problems(list.Problems)
			return r.table("REVISION TIME AUTHOR HASH COMMENT", rows)
		})
	})
}

type configRollback struct {
	Revision uint64 `arg:"" help:"Of the version, as 'seckill config history' shows it."`
	whyFlag
	onFlag
	yesFlag
}

// Run publishes an earlier version again.
func (c *configRollback) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		etag, err := c.etag(ctx, r)
		if err != nil {
			return err
		}
		if err := c.confirm(ctx, fmt.Sprintf("Publish revision %d again, to all nodes", c.Revision)); err != nil {
			return err
		}
		a, err := r.Do(ctx, client.Request{
			Method: http.MethodPost, Path: configPath + "/rollback", IfMatch: etag,
			Body: map[string]any{"revision": c.Revision, "comment": c.Comment},
		})
		if err != nil {
			return err
		}
		return showPublished(r, a)
	})
}

type configDelete struct {
	whyFlag
	onFlag
	yesFlag
}

// Run deletes the config.
func (c *configDelete) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		etag, err := c.etag(ctx, r)
		if err != nil {
			return err
		}
		if etag == client.ETag(0) {
			return errors.New("no config is published: there is nothing to delete")
		}
		if err := c.confirm(ctx, "Delete the config, on all nodes"); err != nil {
			return err
		}
		a, err := r.Do(ctx, client.Request{Method: http.MethodDelete, Path: configPath, Query: url.Values{"comment": {c.Comment}}, IfMatch: etag})
		if err != nil {
			return err
		}
		return r.said(a, "deleted: nodes go by their own settings")
	})
}

type configConsistency struct{}

// Run tells what the nodes have in force.
func (*configConsistency) Run(config *configCommand, p *program) error {
	return config.run(p, config.Output, func(ctx context.Context, r remote) error {
		a, err := r.get(ctx, configPath+"/consistency", nil)
		if err != nil {
			return err
		}
		return show(r, a, r.consistency)
	})
}

func (r remote) consistency(c admin.Consistency) error {
	var rows [][]string
	for _, n := range c.Reports {
		has, same := n.Why, "no"
		if n.Report != nil && has == "" {
			has = n.Report.Hash
		}
		if n.Same {
			same = "yes"
		}
		trial := "no"
		if n.Selected {
			trial = "yes"
		}
		rows = append(rows, []string{n.ID, same, trial, n.InForceHash, has})
	}
	return r.table("NODE AS-IT-SHOULD ON-TRIAL IN-FORCE CONFIG", rows)
}

// faultText tells what is wrong, and where.
func faultText(f settings.ConfigFault) string {
	text := f.What
	if f.Field != "" {
		text = f.Field + ": " + text
	}
	if f.Line != 0 {
		text = fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, text)
	}
	return text
}

// faults tells what is wrong with a config.
func (r remote) faults(v admin.Validation) error {
	for _, f := range v.Faults {
		if err := r.line("%s", faultText(f)); err != nil {
			return err
		}
	}
	return nil
}
