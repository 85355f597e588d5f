package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// staleAfter is from when on a list that was not confirmed is said to be old: the store
// confirms it every 30 seconds.
const staleAfter = 45 * time.Second

// readPatience is how long a part of a page is waited for that the store has to be asked
// for: while it is away the rest is shown.
const readPatience = time.Second

// A storeState is how this process and the store get on.
type storeState struct {
	Backend   string
	Reachable bool
	Answered  time.Time
}

func (p *page) storeState() storeState {
	backend, status := p.cfg.Service.StoreStatus()
	return storeState{backend, status.Reachable, status.Answered}
}

type storeHealth struct {
	storeState
	Leader   string
	Latency  time.Duration
	Findings []backend.Finding // that are not as they should be
}

// A saleRow is a running sale in a list.
type saleRow struct {
	ID, Title       string
	Phase           string
	Known           bool // the rest is; and AtMost as on the sale's page
	AtMost          bool
	Sold, Remaining int64
	Rate            float64
	Closes          time.Time
}

type overview struct {
	Store storeHealth
	nodeList
	Count    int // nodes, without processes that wait to be one
	Agree    int // of them, that have in force what they should
	Sales    []saleRow
	More     bool // sales that are not among them
	SalesErr string
}

func (p *page) overview() error {
	o, err := p.lookOver(p.ctx)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "overview", "Overview", o, live("/live"))
}

// overviewParts change each for itself: what is put in place anew can't be read meanwhile.
var overviewParts = []string{"store-away", "store-findings", "health", "sales", "overview-nodes:nodes"}

func (p *page) overviewLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		o, err := p.lookOver(ctx)
		if err != nil {
			return news{}, err
		}
		return p.parts("overview", o, overviewParts...)
	})
}

// lookOver asks for what there is. What can't be told because the store is away is left
// out, and the page says so.
func (p *page) lookOver(ctx context.Context) (overview, error) {
	health, err := p.cfg.Service.Health(ctx, nil)
	if err != nil {
		return overview{}, err
	}
	nodes, err := p.listNodes(ctx)
	if err != nil {
		return overview{}, err
	}
	o := overview{Store: showHealth(health.Body), nodeList: nodes}
	for _, n := range nodes.Nodes {
		if n.Waits() {
			continue
		}
		o.Count++
		if n.Same && !n.Pushed() {
			o.Agree++
		}
	}
	if o.Sales, o.More, err = p.runningSales(ctx); err != nil {
		o.SalesErr = sentence(p.problem(err))
	}
	return o, nil
}

func showHealth(h admin.StoreHealth) storeHealth {
	shown := storeHealth{
		storeState: storeState{h.Backend, h.Reachable, h.Answered},
		Latency:    time.Duration(h.LatencySeconds * float64(time.Second)),
	}
	for _, f := range h.Findings {
		switch {
		case f.Check == "leader" && f.Verdict == backend.VerdictOK:
			shown.Leader = f.Found
		case f.Verdict == backend.VerdictFail || f.Verdict == backend.VerdictWarn:
			shown.Findings = append(shown.Findings, f)
		}
	}
	return shown
}

// runningSales are those that sell or will again, the newest first, and whether there are
// more.
func (p *page) runningSales(ctx context.Context) (rows []saleRow, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	var running []event.Event
	for _, status := range []record.Status{record.StatusOnline, record.StatusOffline} {
		list, err := p.cfg.Service.ListEvents(ctx, &admin.EventsQuery{Page: admin.Page{Limit: 200}, Status: string(status)})
		if err != nil {
			return nil, false, err
		}
		running, more = append(running, list.Body.Events...), more || list.Body.Next != ""
	}
	slices.SortFunc(running, func(a, b event.Event) int { return b.ID.Compare(a.ID) })
	for _, e := range running {
		row := saleRow{ID: e.ID.String(), Title: e.Title, Closes: e.Window.Closes}
		f, known := p.cfg.Service.Figures(e.ID)
		row.Known, row.AtMost, row.Sold, row.Remaining, row.Rate = known, f.AtMost(), f.Held, f.Remaining, f.UnitsPerSecond
		row.Phase = phase(e, f.SoldOut, time.Now())
		rows = append(rows, row)
	}
	return rows, more, nil
}
