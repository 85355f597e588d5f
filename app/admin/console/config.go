package console

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
)

type configPage struct {
	ETag, Value string
	Faults      []settings.ConfigFault
	Exists      bool
	Revision    backend.Revision
	Hash        string
	Trouble     string // why the store could not be asked
	OnTrial     bool
	force
}

// A force is what nodes have in force.
type force struct {
	Nodes []nodeRow
	Same  int // of them, as they should
}

func (p *page) inForce(ctx context.Context) (force, error) {
	list, err := p.listNodes(ctx)
	if err != nil {
		return force{}, err
	}
	f := force{Nodes: list.Nodes}
	for _, n := range f.Nodes {
		if n.Same && !n.Pushed() {
			f.Same++
		}
	}
	return f, nil
}

func (p *page) config() error {
	c, err := p.lookAtConfig()
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "config", "Config", c, live("/config/live"))
}

// lookAtConfig is what is published, to be edited.
func (p *page) lookAtConfig() (configPage, error) {
	answer, err := p.cfg.Service.GetConfig(p.ctx, nil)
	if err != nil {
		return configPage{}, err
	}
	published := answer.Body.Published
	c := configPage{
		ETag: answer.ETag, Value: published.Value, Exists: published.Exists, Revision: published.Revision,
		Hash: published.Hash, Trouble: published.Error,
	}
	if r, err := p.cfg.Service.GetRollout(p.ctx, nil); err == nil {
		c.OnTrial = r.Body.Rollout.State == dynconf.Trial
	}
	c.force, err = p.inForce(p.ctx)
	return c, err
}

func (p *page) configLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		f, err := p.inForce(ctx)
		if err != nil {
			return news{}, err
		}
		return p.parts("config", f, "config-nodes")
	})
}

// typedConfig is the config as it was typed, on the version that it was made from. Errors:
// one that no store takes, which is not worth comparing.
func (p *page) typedConfig() (c configPage, form url.Values, err error) {
	if form, err = p.form(); err != nil {
		return c, nil, err
	}
	if err = backend.CheckValue(settings.ConfigKey, []byte(form.Get("value"))); err != nil {
		return c, nil, web.NewProblem(http.StatusRequestEntityTooLarge, "too_large", err.Error())
	}
	if c, err = p.lookAtConfig(); err != nil {
		return c, nil, err
	}
	c.Value, c.ETag = form.Get("value"), form.Get("etag")
	return c, form, nil
}

// editConfig shows the editor with what was typed before.
func (p *page) editConfig() error {
	c, _, err := p.typedConfig()
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "config", "Config", c)
}

type review struct {
	ETag, Value, Comment string
	Diff                 diff
}

// reviewConfig shows what is wrong with a config, or what it would change.
func (p *page) reviewConfig() error {
	c, _, err := p.typedConfig()
	if err != nil {
		return err
	}
	return p.review(http.StatusOK, c, "")
}

func (p *page) review(status int, c configPage, comment string, options ...option) error {
	in := &admin.ConfigInput{Body: admin.ConfigText{Value: c.Value}}
	checked, err := p.cfg.Service.ValidateConfig(p.ctx, in)
	if err != nil {
		return err
	}
	if c.Faults = checked.Body.Faults; len(c.Faults) > 0 {
		return p.show(http.StatusUnprocessableEntity, "config", "Config", c, options...)
	}
	now, err := p.cfg.Service.GetConfig(p.ctx, nil)
	if err != nil {
		return err
	}
	published := now.Body.Published
	if published.Error != "" {
		return web.NewProblem(http.StatusServiceUnavailable, "unavailable", published.Error)
	}
	if now.ETag != c.ETag {
		options = append(options, conflicting(compare(c.ETag, now.ETag, []field{{"Config", c.Value}}, []field{{"Config", published.Value}})))
		c.ETag = now.ETag
	}
	d := sideBySide("published, "+named(published.Revision), published.Value, "yours", c.Value)
	return p.show(status, "config-review", "Compare with what is published", review{c.ETag, c.Value, comment, d}, options...)
}

func named(r backend.Revision) string {
	if r == 0 {
		return "nothing"
	}
	return fmt.Sprintf("revision %d", r)
}

// refusedConfig answers where a config was not taken: with the page on which it was
// compared, so that nothing typed is lost.
func (p *page) refusedConfig(err error, c configPage, form url.Values) error {
	problem := p.problem(err)
	switch problem.Status {
	case http.StatusPreconditionFailed:
		return p.review(problem.Status, c, form.Get("comment"), p.keeping(form))
	case http.StatusUnprocessableEntity, http.StatusConflict:
		return p.review(problem.Status, c, form.Get("comment"), troubled(problem), p.keeping(form))
	}
	return problem
}

func (p *page) publishConfig() error {
	c, form, err := p.typedConfig()
	if err != nil {
		return err
	}
	in := &admin.PublishInput{SeenOrNew: seenOrNew(form)}
	in.Body.Value, in.Body.Comment = c.Value, form.Get("comment")
	if err = comment(in.Body.Comment); err == nil {
		var v *admin.Versioned[admin.ConfigVersion]
		if v, err = p.cfg.Service.PublishConfig(p.ctx, in); err == nil {
			return p.leave("/config", flash{"good", fmt.Sprintf("Published as revision %d.", v.Body.Revision)})
		}
	}
	return p.refusedConfig(err, c, form)
}

// comment refuses one that says nothing.
func comment(text string) error {
	if strings.TrimSpace(text) == "" {
		return wrong("comment", "expected a word on why, for those who read the history")
	}
	return nil
}

func (p *page) configHistory() error {
	in := p.after()
	list, err := p.cfg.Service.ListVersions(p.ctx, &in)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "config-history", "History of the config", list.Body, p.more(list.Body.Next))
}

type versionPage struct {
	Version admin.ConfigVersion
	ETag    string // of what is published
	Current bool
	Diff    diff
}

func (p *page) configVersion() error { return p.showVersion(p.r.PathValue("rev"))(http.StatusOK) }

func (p *page) showVersion(named string) func(status int, options ...option) error {
	return func(status int, options ...option) error {
		v, err := p.lookAtVersion(named)
		if err != nil {
			return err
		}
		return p.show(status, "config-version", "Version "+named, v, options...)
	}
}

func (p *page) lookAtVersion(number string) (versionPage, error) {
	revision, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return versionPage{}, web.NewProblem(http.StatusNotFound, "not_found", "A version has a number.")
	}
	v, err := p.cfg.Service.GetVersion(p.ctx, &admin.VersionPath{Revision: revision})
	if err != nil {
		return versionPage{}, err
	}
	now, err := p.cfg.Service.GetConfig(p.ctx, nil)
	if err != nil {
		return versionPage{}, err
	}
	published := now.Body.Published
	return versionPage{
		Version: v.Body, ETag: now.ETag, Current: published.Revision == v.Body.Revision,
		Diff: sideBySide("published, "+named(published.Revision), published.Value, "this version", v.Body.Value),
	}, nil
}

func (p *page) rollbackConfig() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	to, err := strconv.ParseUint(form.Get("to"), 10, 64)
	if err != nil {
		return wrong("to", "expected the revision of a version")
	}
	in := &admin.RollbackInput{SeenOrNew: seenOrNew(form)}
	in.Body.Revision, in.Body.Comment = backend.Revision(to), form.Get("comment")
	if err = comment(in.Body.Comment); err == nil {
		_, err = p.cfg.Service.RollbackConfig(p.ctx, in)
	}
	if err != nil {
		return p.again(err, form, p.showVersion(form.Get("to")))
	}
	return p.leave("/config", flash{"good", fmt.Sprintf("Version %d is published again.", to)})
}

// askDeleteConfig asks whether there is to be no cluster config.
func (p *page) askDeleteConfig() error {
	if problem := access.Check(p.r.Context(), access.Admin); problem != nil {
		return problem
	}
	return p.confirmDeleteConfig(http.StatusOK)
}

func (p *page) confirmDeleteConfig(status int, options ...option) error {
	now, err := p.cfg.Service.GetConfig(p.ctx, nil)
	if err != nil {
		return err
	}
	published := now.Body.Published
	switch {
	case published.Error != "":
		return web.NewProblem(http.StatusServiceUnavailable, "unavailable", published.Error)
	case !published.Exists:
		return p.leave("/config", flash{"care", "Nothing is published, so there is nothing to be deleted."})
	}
	return p.confirming(confirmation{
		Question: "Delete the cluster config?", Back: "/config", Button: "Delete", Destroys: true, Type: settings.ConfigKey, Why: true,
		Consequences: []string{
			"All nodes go by their own settings at once, which may not be the same on all of them.",
			"Its versions stay in the history, and can be published again.",
		},
		Facts:  []fact{{"Published", named(published.Revision)}, {"Hash", published.Hash}, {"Nodes", strconv.Itoa(len(now.Body.Nodes))}},
		Hidden: []hidden{{"etag", now.ETag}},
	})(status, options...)
}

func (p *page) deleteConfig() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	if form.Get("typed") != settings.ConfigKey {
		err = wrong("typed", "expected "+settings.ConfigKey+", so nothing was done")
	} else if err = comment(form.Get("comment")); err == nil {
		_, err = p.cfg.Service.DeleteConfig(p.ctx, &admin.DeleteConfigInput{Seen: seen(form), Comment: form.Get("comment")})
	}
	if err != nil {
		return p.again(err, form, p.confirmDeleteConfig)
	}
	return p.leave("/config", flash{"good", "The cluster config is deleted. Nodes go by their own settings."})
}

type rolloutPage struct {
	Rollout *dynconf.Rollout
	ETag    string // of the rollout
	OnTrial bool
	Diff    diff
	Nodes   []rolloutNode
	Labels  string // as they are typed
	Trial   rolloutCount
	Others  rolloutCount
}

// A rolloutNode is a node beside what it should have.
type rolloutNode struct {
	admin.NodeReport
	Wanted string // hash of what it should have of the cluster config, "": nothing, so its own settings
}

// Has is the hash of what the node has of the cluster config, "" for its own settings.
func (n rolloutNode) Has() string {
	if n.Report == nil {
		return ""
	}
	return n.Report.Hash
}

// A rolloutCount is how many of the nodes that should have a value have it.
type rolloutCount struct {
	Hash        string
	Same, Nodes int
}

func (c *rolloutCount) add(n rolloutNode) {
	c.Nodes++
	if n.Same {
		c.Same++
	}
}

func (p *page) rollout() error { return p.showRollout(http.StatusOK) }

func (p *page) showRollout(status int, options ...option) error {
	r, err := p.lookAtRollout(p.ctx)
	if err != nil {
		return err
	}
	return p.show(status, "rollout", "Gray release", r, append(options, live("/config/rollout/live"))...)
}

func (p *page) rolloutLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		r, err := p.lookAtRollout(ctx)
		if err != nil {
			return news{}, err
		}
		return p.parts("rollout", r, "rollout")
	})
}

func (p *page) lookAtRollout(ctx context.Context) (rolloutPage, error) {
	answer, err := p.cfg.Service.GetRollout(ctx, nil)
	if err != nil {
		if problem := p.problem(err); problem.Status != http.StatusNotFound {
			return rolloutPage{}, problem
		}
		return rolloutPage{}, nil
	}
	r := answer.Body.Rollout
	page := rolloutPage{Rollout: &r, ETag: answer.ETag, OnTrial: r.State == dynconf.Trial, Labels: typedLabels(r.Labels)}
	now, err := p.cfg.Service.GetConfig(ctx, nil)
	if err != nil {
		return page, err
	}
	published := now.Body.Published
	page.Diff = sideBySide("published, "+named(published.Revision), published.Value, "on trial", r.Value)
	c := answer.Body.Consistency
	page.Trial.Hash, page.Others.Hash = c.Trial, c.Hash
	for _, report := range c.Reports {
		n, of := rolloutNode{report, c.Hash}, &page.Others
		if report.Selected {
			n.Wanted, of = c.Trial, &page.Trial
		}
		of.add(n)
		page.Nodes = append(page.Nodes, n)
	}
	return page, nil
}

func (p *page) startRollout() error {
	c, form, err := p.typedConfig()
	if err != nil {
		return err
	}
	in := &admin.StartInput{SeenOrNew: seenOrNew(form)}
	in.Body.Value, in.Body.Comment = c.Value, form.Get("comment")
	in.Body.Labels, err = labels(form.Get("labels"))
	if err == nil {
		in.Body.Percent, err = share(form)
	}
	if err == nil {
		err = comment(in.Body.Comment)
	}
	if err == nil {
		if in.Body.MaxFailures, err = strconv.Atoi(form.Get("maxFailures")); err != nil || in.Body.MaxFailures < 0 {
			err = wrong("maxFailures", "expected a whole number")
		}
	}
	if err == nil {
		if _, err = p.cfg.Service.StartRollout(p.ctx, in); err == nil {
			return p.leave("/config/rollout", flash{"good", "The trial has begun."})
		}
	}
	return p.refusedConfig(err, c, form)
}

// share is that of the nodes that are to be on trial.
func share(form url.Values) (float64, error) {
	percent, err := strconv.ParseFloat(form.Get("percent"), 64)
	if err != nil {
		return 0, wrong("percent", "expected a number, above 0 and up to 100")
	}
	return percent, nil
}

// labels reads name=value, separated by commas.
func labels(text string) (map[string]string, error) {
	found := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, wrong("labels", "expected name=value, separated by commas")
		}
		found[name] = strings.TrimSpace(value)
	}
	return found, nil
}

// typedLabels are labels as labels reads them.
func typedLabels(labels map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, ", ")
}

func (p *page) retargetRollout() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.RetargetInput{RolloutPath: admin.RolloutPath{ID: form.Get("id")}, Seen: seen(form)}
	if in.Body.Percent, err = share(form); err == nil {
		in.Body.Labels, err = labels(form.Get("labels"))
	}
	if err == nil {
		_, err = p.cfg.Service.RetargetRollout(p.ctx, in)
	}
	return p.advanced(err, form, "The share is changed.")
}

// advanced answers after a step of a rollout: with how it stands, or with the form as it
// was typed and why it was refused.
func (p *page) advanced(err error, form url.Values, done string) error {
	if err != nil {
		return p.again(err, form, p.showRollout)
	}
	return p.leave("/config/rollout", flash{"good", done})
}

func (p *page) promoteRollout() error {
	return p.endRollout("It is published to all nodes.", p.cfg.Service.PromoteRollout)
}

func (p *page) abandonRollout() error {
	return p.endRollout("It is taken off all nodes.", p.cfg.Service.AbandonRollout)
}

func (p *page) endRollout(done string, end func(context.Context, *admin.CommentInput) (*admin.Versioned[dynconf.Rollout], error)) error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.CommentInput{RolloutPath: admin.RolloutPath{ID: form.Get("id")}}
	in.Body.Comment = form.Get("comment")
	if err = comment(in.Body.Comment); err == nil {
		_, err = end(p.ctx, in)
	}
	return p.advanced(err, form, done)
}
