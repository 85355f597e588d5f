package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/web"
)

// A nodeRow is a node, and whether it has in force what it should.
type nodeRow struct {
	admin.Node
	Same bool
	Why  string // it is not the same, as far as is known
}

// Pushed reports whether the node has something in force that was pushed to it alone.
func (n nodeRow) Pushed() bool {
	_, pushed := n.Configs[node.OverrideKey]
	return pushed
}

// Waits reports whether this is a process that waits for the address of another one, and so
// no node for itself.
func (n nodeRow) Waits() bool { return n.Place() != n.ID }

type nodeList struct {
	Nodes     []nodeRow
	Gone      []admin.DrainedNode // drained, and not listed
	Problems  []string
	Synced    bool
	Stale     bool
	Staleness string
}

func (p *page) listNodes(ctx context.Context) (nodeList, error) {
	answer, err := p.cfg.Service.ListNodes(ctx, nil)
	if err != nil {
		return nodeList{}, err
	}
	list := nodeList{Synced: answer.Body.Synced}
	staleness := time.Duration(answer.Body.StalenessSeconds * float64(time.Second))
	list.Stale, list.Staleness = staleness > staleAfter || !p.storeState().Reachable, roughly(staleness)
	for _, x := range answer.Body.Problems {
		list.Problems = append(list.Problems, x.Error)
	}
	for _, d := range answer.Body.Drains {
		if !d.Listed {
			list.Gone = append(list.Gone, d)
		}
	}
	drift := p.drift(ctx)
	for _, n := range answer.Body.Nodes {
		why, drifts := drift[n.ID]
		list.Nodes = append(list.Nodes, nodeRow{n, !drifts, why})
	}
	return list, nil
}

// drift tells, for nodes that do not have in force what they should, why. If the store
// can't be asked, those are meant that differ from this process.
func (p *page) drift(ctx context.Context) map[string]string {
	drift := map[string]string{}
	bounded, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	c, err := p.cfg.Service.GetConsistency(bounded, nil)
	if err != nil {
		return p.unlike(ctx)
	}
	for _, d := range c.Body.Drift {
		drift[d.Node] = d.Why
	}
	return drift
}

// unlike are the nodes that have something else in force than this process.
func (p *page) unlike(ctx context.Context) map[string]string {
	unlike := map[string]string{}
	c, err := p.cfg.Service.GetConfig(ctx, nil)
	if err != nil {
		return unlike // it answers without the store
	}
	for _, n := range c.Body.Nodes {
		if !n.Same {
			unlike[n.ID] = "unlike here; the store can’t be asked"
		}
	}
	return unlike
}

func (p *page) nodes() error {
	list, err := p.listNodes(p.ctx)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "nodes", "Nodes", list, live("/nodes/live"))
}

func (p *page) nodesLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		list, err := p.listNodes(ctx)
		if err != nil {
			return news{}, err
		}
		return p.parts("nodes", list, "node-list:nodes")
	})
}

type nodeDetail struct {
	Node    nodeRow
	Reports []report
	Status  string
	Trouble string // why there is no status
}

// A report is what a node says of a configuration.
type report struct{ Name, Text string }

func (p *page) node() error { return p.showNode(http.StatusOK) }

func (p *page) showNode(status int, options ...option) error {
	d, err := p.lookAtNode()
	if err != nil {
		return err
	}
	return p.show(status, "node", d.Node.ID, d, options...)
}

func (p *page) lookAtNode() (nodeDetail, error) {
	at := p.nodePath()
	answer, err := p.cfg.Service.GetNode(p.ctx, &at)
	if err != nil {
		return nodeDetail{}, err
	}
	n := answer.Body
	why, drifts := p.drift(p.ctx)[n.ID]
	d := nodeDetail{Node: nodeRow{n.Node, !drifts, why}, Status: indented(n.Status), Trouble: n.StatusError}
	for name, text := range n.Configs {
		d.Reports = append(d.Reports, report{name, indented(text)})
	}
	return d, nil
}

func indented(text json.RawMessage) string {
	if len(text) == 0 {
		return ""
	}
	b, err := json.MarshalIndent(text, "", "  ")
	if err != nil {
		return string(text)
	}
	return string(b)
}

func (p *page) here() string { return "/nodes/" + url.PathEscape(p.r.PathValue("id")) }

func (p *page) nodePath() admin.NodePath { return admin.NodePath{ID: p.r.PathValue("id")} }

// changed answers after a step of the node's page: with the node, or with the form as it
// was typed and why it was refused.
func (p *page) changed(err error, form url.Values, done string) error {
	if err != nil {
		return p.again(err, form, p.showNode)
	}
	return p.leave(p.here(), flash{"good", done})
}

func (p *page) drain() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.DrainInput{NodePath: p.nodePath()}
	in.Body.Reason = form.Get("reason")
	_, err = p.cfg.Service.DrainNode(p.ctx, in)
	return p.changed(err, form, "The node is drained: it gets no new requests.")
}

// undrain leads to the list if the node is not in it, for then it has no page.
func (p *page) undrain() error {
	at := p.nodePath()
	_, err := p.cfg.Service.UndrainNode(p.ctx, &at)
	to := p.here()
	if _, gone := p.cfg.Service.GetNode(p.ctx, &at); gone != nil {
		to = "/nodes"
	}
	return p.did(err, to, at.ID+" may have requests again.", to)
}

func (p *page) weigh() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.WeightInput{NodePath: p.nodePath()}
	if in.Body.Weight, err = strconv.Atoi(form.Get("weight")); err != nil {
		err = wrong("weight", "expected a whole number")
	} else {
		_, err = p.cfg.Service.WeighNode(p.ctx, in)
	}
	return p.changed(err, form, "The weight is set.")
}

func (p *page) unweigh() error {
	at := p.nodePath()
	_, err := p.cfg.Service.UnweighNode(p.ctx, &at)
	return p.did(err, p.here(), "The node has its own weight again.", p.here())
}

func (p *page) push() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.PushInput{NodePath: p.nodePath()}
	in.Body.Value, in.Body.Comment = form.Get("value"), form.Get("comment")
	if err = comment(in.Body.Comment); err == nil {
		in.Body.Seconds, err = minutes(form.Get("minutes"))
	}
	done := ""
	if err == nil {
		var pushed *admin.Answer[admin.Pushed]
		if pushed, err = p.cfg.Service.PushConfig(p.ctx, in); err == nil {
			done = "It is in force at this node until " + pushed.Body.Until.UTC().Format(time.DateTime) + " UTC."
		}
	}
	return p.changed(err, form, done)
}

// reload has a node load a file of its machine again.
func (p *page) reload() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.ReloadInput{NodePath: p.nodePath()}
	in.Body.Source = form.Get("source")
	_, err = p.cfg.Service.ReloadNode(p.ctx, in)
	return p.changed(err, form, "The node has loaded its "+in.Body.Source+" again.")
}

// minutes reads a time in minutes, nothing being the node's own choice, and tells it in
// seconds.
func minutes(text string) (seconds int, err error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if most := int(node.MaxOverride / time.Minute); err != nil || n < 1 || n > most {
		return 0, wrong("minutes", fmt.Sprintf("expected whole minutes, %d at most, or nothing for %d", most, node.DefaultOverride/time.Minute))
	}
	return n * 60, nil
}

func (p *page) clear() error {
	at := p.nodePath()
	_, err := p.cfg.Service.ClearConfig(p.ctx, &at)
	return p.did(err, p.here(), "The node goes by what is published again.", p.here())
}

// wrong is a problem with one field of a form.
func wrong(field, what string) *web.Problem {
	problem := web.NewProblem(http.StatusUnprocessableEntity, "invalid", "The form is not as it should be")
	problem.Faults = []web.Fault{{Where: field, What: what}}
	return problem
}
