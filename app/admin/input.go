package admin

import (
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// Seen says which version a change is made on.
type Seen struct {
	IfMatch string `header:"If-Match" doc:"The ETag of what is changed, as it was seen"`
}

// SeenOrNew is Seen of what may not be there yet.
type SeenOrNew struct {
	Seen
	IfNoneMatch string `header:"If-None-Match" doc:"*, to make what is not there"`
}

// revision is that which was seen.
func (s Seen) revision() (backend.Revision, error) {
	if s.IfMatch == "" {
		return 0, problem(noPrecondition, "")
	}
	text, ok := strings.CutPrefix(s.IfMatch, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	revision, err := strconv.ParseUint(text, 10, 64)
	if !ok || !closed || err != nil || revision == 0 {
		return 0, invalidAt("header.If-Match", `expected one ETag as it was given, like "42"`)
	}
	return backend.Revision(revision), nil
}

// revision is that which was seen, 0 if nothing was.
func (s SeenOrNew) revision() (backend.Revision, error) {
	switch {
	case s.IfNoneMatch == "":
		r, err := s.Seen.revision()
		return r, err
	case s.IfNoneMatch != "*" || s.IfMatch != "":
		return 0, invalidAt("header.If-None-Match", "expected * alone, or an ETag in If-Match instead")
	}
	return 0, nil
}

// A Versioned is an answer that can be changed, on the condition of its ETag.
type Versioned[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// An Answer is one that has no version.
type Answer[T any] struct{ Body T }

func answer[T any](body T) *Answer[T] { return &Answer[T]{body} }

// A Page asks for a part of a list.
type Page struct {
	After string `query:"after" maxLength:"200" doc:"next, of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// limit is how many are wanted: callers in this process need not say.
func (p Page) limit() int {
	if p.Limit < 1 {
		return 50
	}
	return p.Limit
}

// cut takes a page of what comes after, and tells the name of the last if there is more.
func cut[T any](p Page, all []T, name func(T) string) (page []T, next string) {
	if len(all) <= p.limit() {
		return all, ""
	}
	page = all[:p.limit()]
	return page, name(page[len(page)-1])
}

// EventPath names an event.
type EventPath struct {
	ID string `path:"id" doc:"The event's id" maxLength:"200"`
}

// id reads the name: what is none names no event.
func (p EventPath) id() (ulid.ULID, error) {
	id, err := ulid.ParseStrict(p.ID)
	if err != nil || id.String() != p.ID || id.IsZero() {
		return ulid.ULID{}, problem(noSuchEvent, "")
	}
	return id, nil
}

// NamePath names goods or a topic.
type NamePath struct {
	ID string `path:"id" maxLength:"200"`
}

// check refuses what can't be a name, as a path that leads elsewhere.
func (p NamePath) check() error {
	if err := record.CheckName(p.ID); err != nil {
		return invalidAt("path.id", err.Error())
	}
	return nil
}
