package console

import (
	"context"
	"net/http"
	"time"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/figures"
	"github.com/seed27495941/seckill/app/sale/record"
)

// A salePage is an event, with how its sale stands.
type salePage struct {
	Event event.Event
	Phase string
	Steps []step
	Live  bool // the sale is open: there are figures, or will be

	Known                  bool // something was heard
	AtMost                 bool // not of all slots: what is sold is merely what could be
	Sold, Remaining, Total int64
	Rate                   float64
	Slots                  []admin.LiveSlot
	Refusals               []refusal
	Refused                int64
	RefusedRate            float64
	Stale                  bool
	Staleness              string
}

// A refusal is why requests for an order were refused, and how many.
type refusal struct {
	Reason, Text string
	Count        int64
}

// why is what a reason says, for people.
var why = map[string]string{
	"identity":               "Who sent it could not be told",
	"blacklist":              "The buyer is on the blacklist",
	"breaker":                "The node had too much to do",
	"node_limit":             "Above the node’s part of the rate for all requests",
	"switches":               "Switched off by operators",
	"window":                 "The sale had not opened",
	"user_limit":             "Above the rate of one buyer",
	"store_limit":            "Above the node’s part of the rate for the store",
	"unsupported_media_type": "It was no JSON",
	"too_large":              "It was too large",
	"invalid":                "It was not as it should be",
	"busy":                   "Too many were waiting",
	"not_started":            "The sale had not opened, by the owner’s clock",
	"suspended":              "The sale was paused",
	"ended":                  "The sale had ended",
	"limit_reached":          "More units than one buyer may have",
	"sold_out":               "Sold out",
	"request_reused":         "The same request was made before with another quantity",
	"undecided":              "Nothing was known in time: it may have its order",
	figures.Other:            "Another reason, which this version does not know",
}

// refusalsOf are those that there are, in the order in which they are found out.
func refusalsOf(by map[string]int64) (all []refusal, sum int64) {
	for _, reason := range figures.Reasons {
		if n := by[reason]; n > 0 {
			all = append(all, refusal{reason, why[reason], n})
			sum += n
		}
	}
	return all, sum
}

// A point is one of the curve.
type point struct {
	At        int64 `json:"at"` // in milliseconds of Unix time
	Sold      int64 `json:"sold"`
	Remaining int64 `json:"remaining"`
	Total     int64 `json:"total"`
}

func (p *page) sale() error {
	s, err := p.lookAtSale(p.ctx)
	if err != nil {
		return err
	}
	var options []option
	if s.Live {
		options = append(options, live("/events/"+s.Event.ID.String()+"/live"))
	}
	return p.show(http.StatusOK, "sale", s.Event.Title, s, options...)
}

// saleLive tells a page what is new. Each stream begins with the points of the last minutes:
// a page that is opened late, or was out of touch, has the same curve as others.
func (p *page) saleLive() error {
	return p.stream(func(ctx context.Context) (news, error) {
		s, err := p.lookAtSale(ctx)
		if err != nil {
			return news{}, err
		}
		n, err := p.parts("sale", s, "sale-figures", "sale-slots", "sale-refusals")
		if err != nil {
			return news{}, err
		}
		if n.parts["sale-status"], err = p.views.part("sale", "event-status", s.Phase); err != nil {
			return news{}, err
		}
		if s.Known && !s.AtMost {
			now := time.Now()
			n.point = &point{now.UnixMilli(), s.Sold, s.Remaining, s.Total}
			n.course = func() []point { return s.course(p.cfg.Service.Course(s.Event.ID), now) }
		}
		n.over = !s.Live
		return n, nil
	})
}

// course is how the sale went before a time, as points of its curve.
func (s salePage) course(moments []admin.Moment, until time.Time) []point {
	points := make([]point, 0, len(moments)+1)
	for _, m := range moments {
		if !m.At.Before(until) {
			break
		}
		points = append(points, point{m.At.UnixMilli(), m.Held, s.Total - m.Held, s.Total})
	}
	return points
}

// figuresAge is from when on figures are said to be old: owners tell theirs every second.
const figuresAge = 5 * time.Second

func (p *page) lookAtSale(ctx context.Context) (salePage, error) {
	e, err := p.cfg.Service.GetEvent(ctx, &admin.EventPath{ID: p.r.PathValue("id")})
	if err != nil {
		return salePage{}, err
	}
	s := salePage{Event: e.Body, Steps: stepsFrom(e.Body.Status)}
	switch e.Body.Status {
	case record.StatusOnline, record.StatusOffline, record.StatusClosing, record.StatusPublishing:
		s.Live = true
	case record.StatusDraft, record.StatusClosed, record.StatusArchived:
	}
	f, known := p.cfg.Service.Figures(e.Body.ID)
	if s.Known = known && s.Live; s.Known {
		s.AtMost, s.Sold, s.Remaining, s.Total, s.Rate, s.Slots = f.AtMost(), f.Held, f.Remaining, f.Total, f.UnitsPerSecond, f.Slots
		s.Refusals, s.Refused = refusalsOf(f.Refusals)
		s.RefusedRate = f.RefusalsPerSecond
		if !f.At.IsZero() {
			age := time.Since(f.At)
			s.Stale, s.Staleness = age > figuresAge, roughly(age)
		}
	}
	s.Phase = phase(e.Body, f.SoldOut, time.Now())
	return s, nil
}
