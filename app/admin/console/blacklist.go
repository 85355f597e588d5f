package console

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/gate/blacklist"
)

// A blacklistRow is how a node's blacklist stands.
type blacklistRow struct {
	ID      string
	List    *blacklist.Status // nil: it has none, or Trouble
	Trouble string            // why the node did not tell
}

type blacklistPage struct {
	Nodes  []blacklistRow
	Asked  time.Time
	Differ bool // nodes have lists of different length, so they refuse different buyers
}

func (p *page) blacklist() error { return p.showBlacklist(http.StatusOK) }

// showBlacklist asks each node. That takes a request to each, so the page is not live.
func (p *page) showBlacklist(status int, options ...option) error {
	answer, err := p.cfg.Service.GetBlacklist(p.ctx, nil)
	if err != nil {
		return err
	}
	b := blacklistPage{Asked: time.Now()}
	lengths := map[int]bool{}
	for _, n := range answer.Body.Nodes {
		row := showBlacklisted(n)
		if row.Trouble == "" {
			lengths[row.ids()] = true
		}
		b.Nodes = append(b.Nodes, row)
	}
	b.Differ = len(lengths) > 1
	return p.show(status, "blacklist", "Blacklist", b, options...)
}

func showBlacklisted(n admin.NodeBlacklist) blacklistRow {
	row := blacklistRow{ID: n.ID, Trouble: n.Error}
	if len(n.Blacklist) == 0 {
		return row
	}
	var list blacklist.Status
	if err := json.Unmarshal(n.Blacklist, &list); err != nil {
		row.Trouble = "what it tells of its blacklist can't be read: " + err.Error()
		return row
	}
	row.List = &list
	return row
}

// ids is how many a node refuses, -1 if it has no list.
func (r blacklistRow) ids() int {
	if r.List == nil {
		return -1
	}
	return r.List.IDs
}

// reloadBlacklist has a node load its blacklist again.
func (p *page) reloadBlacklist() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.ReloadInput{NodePath: admin.NodePath{ID: form.Get("node")}}
	in.Body.Source = "blacklist"
	if _, err := p.cfg.Service.ReloadNode(p.ctx, in); err != nil {
		return p.again(err, form, p.showBlacklist)
	}
	return p.leave("/blacklist", flash{"good", in.ID + " has loaded its blacklist again."})
}
