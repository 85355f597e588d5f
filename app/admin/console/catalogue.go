package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/sale/record"
)

// after asks for the page of a list that comes after what the address says.
func (p *page) after() admin.Page { return admin.Page{After: p.r.URL.Query().Get("after")} }

// more is where the next page of a list is.
func (p *page) more(next string) option {
	if next == "" {
		return func(*frame) {}
	}
	query := p.r.URL.Query()
	query.Set("after", next)
	return func(f *frame) { f.More = p.r.URL.Path + "?" + query.Encode() }
}

// seen is the version that a form was made from.
func seen(form url.Values) admin.Seen { return admin.Seen{IfMatch: form.Get("etag")} }

// seenOrNew is seen, of what may not have been there.
func seenOrNew(form url.Values) admin.SeenOrNew {
	if form.Get("etag") == "" {
		return admin.SeenOrNew{IfNoneMatch: "*"}
	}
	return admin.SeenOrNew{Seen: seen(form)}
}

// An editor is a form with the version that it was made from.
type editor[F any] struct {
	ID, ETag string
	New      bool
	Form     F
}

type goodsForm struct{ SKU, Title, Description, Images string }

func (f goodsForm) fields() []field {
	return []field{{"SKU", f.SKU}, {"Title", f.Title}, {"Description", f.Description}, {"Images", f.Images}}
}

func showGoods(g record.Goods) goodsForm {
	return goodsForm{g.SKU, g.Title, g.Description, strings.Join(g.Images, "\n")}
}

func (p *page) goodsList() error {
	in := p.after()
	list, err := p.cfg.Service.ListGoods(p.ctx, &in)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "goods-list", "Goods", list.Body, p.more(list.Body.Next))
}

func (p *page) newGoods() error {
	return p.show(http.StatusOK, "goods", "New goods", editor[goodsForm]{New: true})
}

func (p *page) goods() error {
	g, err := p.cfg.Service.GetGoods(p.ctx, &admin.NamePath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "goods", g.Body.Title, editor[goodsForm]{ID: g.Body.ID, ETag: g.ETag, Form: showGoods(g.Body.Goods)})
}

func (p *page) saveGoods() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	typed := goodsForm{form.Get("sku"), form.Get("title"), form.Get("description"), form.Get("images")}
	e := editor[goodsForm]{p.r.PathValue("id"), form.Get("etag"), p.r.PathValue("id") == "", typed}
	if e.New {
		e.ID = form.Get("id")
	}
	_, err = p.cfg.Service.PutGoods(p.ctx, &admin.GoodsInput{
		NamePath: admin.NamePath{ID: e.ID}, SeenOrNew: seenOrNew(form),
		Body: record.Goods{SKU: typed.SKU, Title: typed.Title, Description: typed.Description, Images: fields(typed.Images)},
	})
	return edited(p, err, "goods", "/goods/"+url.PathEscape(e.ID), e, func() (string, goodsForm, error) {
		now, err := p.cfg.Service.GetGoods(p.ctx, &admin.NamePath{ID: e.ID})
		if err != nil {
			return "", goodsForm{}, err
		}
		return now.ETag, showGoods(now.Body.Goods), nil
	})
}

// A form has fields in an order.
type form interface{ fields() []field }

// edited answers after something was saved: with where it is; or with the form as it
// was typed and why it was refused, beside what somebody else has saved meanwhile.
func edited[F form](p *page, err error, view, to string, e editor[F], now func() (etag string, f F, err error)) error {
	if err == nil {
		return p.leave(to, flash{"good", "Saved."})
	}
	title := "Edit"
	if e.New {
		title = "New"
	}
	problem := p.problem(err)
	if problem.Status != http.StatusPreconditionFailed && problem.Status != http.StatusNotFound {
		if final(problem) {
			return problem
		}
		return p.show(problem.Status, view, title, e, troubled(problem))
	}
	etag, theirs, err := now()
	before := e.ETag
	switch {
	case err == nil:
		e.ETag, e.New = etag, false
		return p.show(problem.Status, view, title, e, conflicting(compare(before, etag, e.Form.fields(), theirs.fields())))
	case p.problem(err).Status == http.StatusNotFound:
		e.ETag, e.New = "", true
		return p.show(problem.Status, view, "New", e, conflicting(compare(before, "", nil, nil)))
	}
	return err
}

// fields are the words of a text.
func fields(text string) []string { return strings.Fields(text) }

func (p *page) confirmGoods() error {
	g, err := p.cfg.Service.GetGoods(p.ctx, &admin.NamePath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	return p.confirm(confirmation{
		Question: "Delete " + g.Body.Title + "?", Back: "/goods/" + g.Body.ID, Button: "Delete", Destroys: true, Type: g.Body.ID,
		Consequences: []string{"Events that sell these goods are shown without them. It can’t be undone."},
		Hidden:       []hidden{{"etag", g.ETag}},
	})
}

func (p *page) deleteGoods() error {
	form, err := p.confirmed(p.r.PathValue("id"))
	if err != nil {
		return err
	}
	id := p.r.PathValue("id")
	_, err = p.cfg.Service.DeleteGoods(p.ctx, &admin.NameSeen{NamePath: admin.NamePath{ID: id}, Seen: seen(form)})
	return p.did(err, "/goods", id+" is deleted.", "/goods/"+url.PathEscape(id))
}

type topicForm struct{ Title, Description, Events string }

func (f topicForm) fields() []field {
	return []field{{"Title", f.Title}, {"Description", f.Description}, {"Events", f.Events}}
}

func showTopic(t record.Topic) topicForm {
	return topicForm{t.Title, t.Description, strings.Join(t.Events, "\n")}
}

func (p *page) topics() error {
	in := p.after()
	list, err := p.cfg.Service.ListTopics(p.ctx, &in)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "topics", "Topics", list.Body, p.more(list.Body.Next))
}

func (p *page) newTopic() error {
	return p.show(http.StatusOK, "topic", "New topic", editor[topicForm]{New: true})
}

func (p *page) topic() error {
	t, err := p.cfg.Service.GetTopic(p.ctx, &admin.NamePath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "topic", t.Body.Title, editor[topicForm]{ID: t.Body.ID, ETag: t.ETag, Form: showTopic(t.Body.Topic)})
}

func (p *page) saveTopic() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	typed := topicForm{form.Get("title"), form.Get("description"), form.Get("events")}
	e := editor[topicForm]{p.r.PathValue("id"), form.Get("etag"), p.r.PathValue("id") == "", typed}
	if e.New {
		e.ID = form.Get("id")
	}
	_, err = p.cfg.Service.PutTopic(p.ctx, &admin.TopicInput{
		NamePath: admin.NamePath{ID: e.ID}, SeenOrNew: seenOrNew(form),
		Body: record.Topic{Title: typed.Title, Description: typed.Description, Events: fields(typed.Events)},
	})
	return edited(p, err, "topic", "/topics/"+url.PathEscape(e.ID), e, func() (string, topicForm, error) {
		now, err := p.cfg.Service.GetTopic(p.ctx, &admin.NamePath{ID: e.ID})
		if err != nil {
			return "", topicForm{}, err
		}
		return now.ETag, showTopic(now.Body.Topic), nil
	})
}

func (p *page) confirmTopic() error {
	t, err := p.cfg.Service.GetTopic(p.ctx, &admin.NamePath{ID: p.r.PathValue("id")})
	if err != nil {
		return err
	}
	return p.confirm(confirmation{
		Question: "Delete " + t.Body.Title + "?", Back: "/topics/" + t.Body.ID, Button: "Delete", Destroys: true, Type: t.Body.ID,
		Consequences: []string{"The page of events is gone for buyers; the events stay. It can’t be undone."},
		Hidden:       []hidden{{"etag", t.ETag}},
	})
}

func (p *page) deleteTopic() error {
	form, err := p.confirmed(p.r.PathValue("id"))
	if err != nil {
		return err
	}
	id := p.r.PathValue("id")
	_, err = p.cfg.Service.DeleteTopic(p.ctx, &admin.NameSeen{NamePath: admin.NamePath{ID: id}, Seen: seen(form)})
	return p.did(err, "/topics", id+" is deleted.", "/topics/"+url.PathEscape(id))
}
