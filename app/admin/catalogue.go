package admin

import (
	"context"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// A GoodsEntry is goods of the catalogue.
type GoodsEntry struct {
	ID       string           `json:"id"`
	Revision backend.Revision `json:"revision"`
	record.Goods
}

// A TopicEntry is a page of events, as operators see it.
type TopicEntry struct {
	ID       string           `json:"id"`
	Revision backend.Revision `json:"revision"`
	record.Topic
}

// A GoodsList is a page of the goods, in the order of their ids.
type GoodsList struct {
	Goods    []GoodsEntry `json:"goods" nullable:"false"`
	Problems []string     `json:"problems,omitempty" nullable:"false" doc:"Keys that can't be read, and why"`
	Next     string       `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// A TopicList is a page of the topics, in the order of their ids.
type TopicList struct {
	Topics   []TopicEntry `json:"topics" nullable:"false"`
	Problems []string     `json:"problems,omitempty" nullable:"false" doc:"Keys that can't be read, and why"`
	Next     string       `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// GoodsInput is what is to be in the catalogue.
type GoodsInput struct {
	NamePath
	SeenOrNew
	Body record.Goods
}

// TopicInput is a page as it is to be.
type TopicInput struct {
	NamePath
	SeenOrNew
	Body record.Topic
}

// NameSeen names what is to be deleted.
type NameSeen struct {
	NamePath
	Seen
}

// ListGoods lists the goods.
func (s *Service) ListGoods(ctx context.Context, in *Page) (*Answer[GoodsList], error) {
	d := s.goods()
	found, problems, err := d.list(ctx, *in)
	if err != nil {
		return nil, err
	}
	page, next := cut(*in, found, func(g GoodsEntry) string { return g.ID })
	return answer(GoodsList{page, problems, next}), nil
}

// GetGoods finds goods.
func (s *Service) GetGoods(ctx context.Context, in *NamePath) (*Versioned[GoodsEntry], error) {
	return s.goods().get(ctx, *in)
}

// PutGoods makes or changes goods.
func (s *Service) PutGoods(ctx context.Context, in *GoodsInput) (*Versioned[GoodsEntry], error) {
	return s.goods().put(ctx, in.NamePath, in.SeenOrNew, in.Body)
}

// DeleteGoods deletes goods. Events that sell them are shown without.
func (s *Service) DeleteGoods(ctx context.Context, in *NameSeen) (*struct{}, error) {
	return nil, s.goods().delete(ctx, *in)
}

// ListTopics lists the topics.
func (s *Service) ListTopics(ctx context.Context, in *Page) (*Answer[TopicList], error) {
	found, problems, err := s.topics().list(ctx, *in)
	if err != nil {
		return nil, err
	}
	page, next := cut(*in, found, func(t TopicEntry) string { return t.ID })
	return answer(TopicList{page, problems, next}), nil
}

// GetTopic finds a topic.
func (s *Service) GetTopic(ctx context.Context, in *NamePath) (*Versioned[TopicEntry], error) {
	return s.topics().get(ctx, *in)
}

// PutTopic makes or changes a topic.
func (s *Service) PutTopic(ctx context.Context, in *TopicInput) (*Versioned[TopicEntry], error) {
	return s.topics().put(ctx, in.NamePath, in.SeenOrNew, in.Body)
}

// DeleteTopic deletes a topic, not its events.
func (s *Service) DeleteTopic(ctx context.Context, in *NameSeen) (*struct{}, error) {
	return nil, s.topics().delete(ctx, *in)
}

// A drawer has records of one kind, each under its name: R in the store, V as they are
// shown.
type drawer[R interface{ Validate() error }, V any] struct {
	service *Service
	kind    string // in the audit log
	dir     string
	missing code
	decode  func(backend.Entry) (R, error)
	view    func(id string, revision backend.Revision, r R) V
}

func (s *Service) goods() drawer[record.Goods, GoodsEntry] {
	return drawer[record.Goods, GoodsEntry]{
		s, "goods", record.GoodsDir, noSuchGoods, record.DecodeGoods,
		func(id string, revision backend.Revision, r record.Goods) GoodsEntry {
			return GoodsEntry{id, revision, r}
		},
	}
}

func (s *Service) topics() drawer[record.Topic, TopicEntry] {
	return drawer[record.Topic, TopicEntry]{
		s, "topic", record.TopicsDir, noSuchTopic, record.DecodeTopic,
		func(id string, revision backend.Revision, r record.Topic) TopicEntry {
			if r.Events == nil {
				r.Events = []string{}
			}
			return TopicEntry{id, revision, r}
		},
	}
}

// list lists what comes after, and what can't be read.
func (d drawer[R, V]) list(ctx context.Context, p Page) (views []V, problems []string, err error) {
	if err := fits(&p); err != nil {
		return nil, nil, err
	}
	entries, _, err := backend.List(ctx, d.service.cfg.Store, d.dir)
	if err != nil {
		return nil, nil, d.service.refuse(err, "")
	}
	views = []V{}
	for _, e := range entries {
		r, err := d.decode(e)
		switch {
		case err != nil:
			problems = append(problems, err.Error())
		case e.Key > d.dir+p.After:
			views = append(views, d.view(e.Key[len(d.dir):], e.Revision, r))
		}
	}
	return views, problems, nil
}

func (d drawer[R, V]) get(ctx context.Context, at NamePath) (*Versioned[V], error) {
	e, err := d.read(ctx, at)
	if err != nil {
		return nil, err
	}
	r, err := d.decode(e)
	if err != nil {
		return nil, problem(unreadable, err.Error()).With("ETag", etag(e.Revision)) // so that it can be replaced
	}
	return d.versioned(at, e.Revision, r), nil
}

func (d drawer[R, V]) read(ctx context.Context, at NamePath) (backend.Entry, error) {
	if err := at.check(); err != nil {
		return backend.Entry{}, err
	}
	e, err := d.service.cfg.Store.Get(ctx, d.dir+at.ID)
	return e, d.service.refuse(err, d.missing)
}

func (d drawer[R, V]) versioned(at NamePath, revision backend.Revision, r R) *Versioned[V] {
	return &Versioned[V]{etag(revision), d.view(at.ID, revision, r)}
}

// before is a record as it was seen, for the audit log; nil if it is not there. It is
// shown as it is if it can't be read.
func (d drawer[R, V]) before(ctx context.Context, at NamePath, seen backend.Revision) (any, error) {
	if seen == 0 {
		return nil, nil
	}
	e, err := d.read(ctx, at)
	if err != nil {
		return nil, err
	}
	if e.Revision != seen {
		return nil, stale(e.Revision)
	}
	return e.Value, nil
}

func (d drawer[R, V]) put(ctx context.Context, at NamePath, on SeenOrNew, r R) (*Versioned[V], error) {
	if err := d.service.allow(ctx, access.Operator); err != nil {
		return nil, err
	}
	seen, err := on.revision()
	if err == nil {
		err = at.check()
	}
	if err == nil {
		err = d.service.refuse(r.Validate(), "")
	}
	if err != nil {
		return nil, err
	}
	before, err := d.before(ctx, at, seen)
	if err != nil {
		return nil, err
	}
	key := d.dir + at.ID
	revision := backend.Revision(0)
	_, err = do(ctx, d.service, deed{access.Operator, d.kind + ".put", at.ID}, before, d.missing, func(ctx context.Context) (R, error) {
		revision, err = backend.PutJSON(ctx, d.service.cfg.Store, key, r, backend.If(key, seen))
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return d.versioned(at, revision, r), nil
}

func (d drawer[R, V]) delete(ctx context.Context, in NameSeen) error {
	if err := d.service.allow(ctx, access.Operator); err != nil {
		return err
	}
	seen, err := in.revision()
	if err != nil {
		return err
	}
	before, err := d.before(ctx, in.NamePath, seen)
	if err != nil {
		return err
	}
	_, err = do(ctx, d.service, deed{access.Operator, d.kind + ".delete", in.ID}, before, d.missing, func(ctx context.Context) (any, error) {
		key := d.dir + in.ID
		return nil, d.service.cfg.Store.Delete(ctx, key, backend.If(key, seen))
	})
	return err
}
