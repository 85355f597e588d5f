package admin

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

const (
	// maxShown bounds what is shown of a value in a list, in bytes.
	maxShown = 4 << 10

	// maxKeyBody bounds a value as it is sent, in bytes: escaped it is longer.
	maxKeyBody = 2 * backend.MaxValue

	// maxSearches bounds how many read through the store at once: each has all keys
	// under its prefix in memory. Of one user there is one.
	maxSearches = 2

	// mostKeys and mostBytes bound what one search goes through: a store gives a prefix as
	// a whole, so each page costs as much as all of them.
	mostKeys  = 20_000
	mostBytes = 8 << 20

	// searchPatience is for how long a store may read a prefix: Consul sends it as one text.
	searchPatience = 30 * time.Second

	// vastFor is for how long a prefix that has more is not read again.
	vastFor = time.Minute
)

// A Key is one of the store, with as much of its value as is shown.
type Key struct {
	Key      string           `json:"key"`
	Revision backend.Revision `json:"revision"`
	Lease    string           `json:"lease,omitempty" doc:"Id of the lease that it hangs on"`
	Bytes    int              `json:"bytes" doc:"Of the whole value"`
	Value    string           `json:"value,omitempty" doc:"Hexadecimal digits if binary, nothing if secret"`
	Binary   bool             `json:"binary,omitempty" doc:"The value is no text"`
	Cut      bool             `json:"cut,omitempty" doc:"Only the beginning of the value is shown"`
	Secret   bool             `json:"secret,omitempty" doc:"The value is not shown to who asks"`
	Guarded  string           `json:"guarded,omitempty" doc:"Why the key can't be changed here"`
}

// A KeyList is a page of keys, in their order.
type KeyList struct {
	Keys []Key  `json:"keys" nullable:"false"`
	Next string `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// KeysQuery asks for keys.
type KeysQuery struct {
	Prefix   string `query:"prefix" maxLength:"512" doc:"How they begin; empty: any"`
	Contains string `query:"contains" maxLength:"200" doc:"What the key or the value has in it, whatever the case of letters; values that are secret are not searched"`
	After    string `query:"after" maxLength:"512" doc:"next, of the page before"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// KeyQuery names a key.
type KeyQuery struct {
	Key string `query:"key" required:"true" maxLength:"512"`
}

// KeyInput is a key as it is to be.
type KeyInput struct {
	KeyQuery
	SeenOrNew
	Body struct {
		Value string `json:"value" maxLength:"262144"`
	}
}

// KeySeen names a key that is to be deleted.
type KeySeen struct {
	KeyQuery
	Seen
}

// secrets are the directories whose values are shown to nobody.
var secrets = []string{"admin/users/", "admin/tokens/", "admin/sessions/"}

// salesDir is the directory whose values say who buys: they are for those who may see
// orders.
const salesDir = "sales/"

// guarded are the directories that are not to be changed by hand.
var guarded = []struct{ dir, why string }{
	{"admin/", "users, tokens and sessions are changed by what is there for them"},
	{"audit/", "the audit log is only added to"},
	{salesDir, "the records of a sale are its owners' alone: writing to them can sell a unit twice"},
}

// ListKeys searches the store's keys under a prefix, which is not to have too many.
func (s *Service) ListKeys(ctx context.Context, in *KeysQuery) (*Answer[KeyList], error) {
	if err := s.may(ctx, access.Viewer, in); err != nil {
		return nil, err
	}
	entries, err := s.search(ctx, in.Prefix)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	list, hidden := KeyList{Keys: []Key{}}, hiddenFrom(ctx)
	limit := Page{Limit: in.Limit}.limit()
	sought := []byte(strings.ToLower(in.Contains))
	for _, e := range entries {
		if e.Key <= in.After || !has(e, sought, hidden) {
			continue
		}
		if len(list.Keys) == limit {
			list.Next = list.Keys[limit-1].Key
			break
		}
		list.Keys = append(list.Keys, showKey(e, maxShown, hidden))
	}
	return answer(list), nil
}

// search reads a prefix, if it is not too large to, which is known but when it was read:
// with sales it may be larger than this process can hold, so those are read for operators only.
// Errors: problems, those of [backend.List].
func (s *Service) search(ctx context.Context, prefix string) ([]backend.Entry, error) {
	if sales := strings.HasPrefix(salesDir, prefix) || strings.HasPrefix(prefix, salesDir); sales {
		if s.allow(ctx, access.Operator) != nil {
			return nil, problem(forbidden, fmt.Sprintf("Keys below %s are searched for operators only: expected a prefix that has none of them, such as events/", salesDir))
		}
	}
	who, _ := access.FromContext(ctx)
	if !s.searches.begin(who.Name) {
		return nil, problem(throttled, "You are searching already: wait for that to end").With("Retry-After", "1")
	}
	defer s.searches.end(who.Name)
	select {
	case s.searches.turns <- struct{}{}:
		defer func() { <-s.searches.turns }()
	case <-ctx.Done():
		return nil, problem(unavailable, "others search at present, try again")
	}
	if refusal := s.searches.known(prefix); refusal != nil {
		return nil, refusal
	}
	ctx, cancel := context.WithTimeout(ctx, searchPatience)
	defer cancel()
	entries, _, err := backend.List(ctx, s.cfg.Store, prefix)
	if err != nil || small(entries) {
		return entries, err
	}
	return nil, s.searches.refuse(prefix, narrow(prefix, entries))
}

// small reports whether keys, with their values, are no more than a search goes through.
func small(entries []backend.Entry) bool {
	bytes := 0
	for _, e := range entries {
		bytes += len(e.Key) + len(e.Value)
	}
	return len(entries) <= mostKeys && bytes <= mostBytes
}

// narrow is a longer prefix that is small enough: one of those of the key in the middle.
func narrow(prefix string, entries []backend.Entry) string {
	middle := entries[len(entries)/2].Key
	for end := range middle {
		if end > len(prefix) && small(under(middle[:end], entries)) {
			return middle[:end]
		}
	}
	return middle
}

// under are the entries under a prefix, of entries in the order of their keys.
func under(prefix string, entries []backend.Entry) []backend.Entry {
	begin, _ := slices.BinarySearchFunc(entries, prefix, func(e backend.Entry, prefix string) int { return strings.Compare(e.Key, prefix) })
	rest := entries[begin:]
	if end := slices.IndexFunc(rest, func(e backend.Entry) bool { return !strings.HasPrefix(e.Key, prefix) }); end >= 0 {
		return rest[:end]
	}
	return rest
}

// searches are those that go on, and what is known of prefixes that are too large for any.
type searches struct {
	turns chan struct{}

	mu   sync.Mutex
	by   map[string]bool // users
	vast map[string]vast // by prefix
}

// A vast prefix has more than a search goes through.
type vast struct {
	since   time.Time
	refusal *web.Problem
}

func newSearches() *searches {
	return &searches{turns: make(chan struct{}, maxSearches), by: map[string]bool{}, vast: map[string]vast{}}
}

// begin reports whether a user may search, who has to end then.
func (s *searches) begin(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by[user] {
		return false
	}
	s.by[user] = true
	return true
}

func (s *searches) end(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.by, user)
}

// known is the refusal of a prefix that is known to be too large, as is one that covers
// such a prefix; else nil.
func (s *searches) known(prefix string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for large, v := range s.vast {
		switch {
		case time.Since(v.since) > vastFor:
			delete(s.vast, large)
		case strings.HasPrefix(large, prefix):
			return v.refusal
		}
	}
	return nil
}

// refuse remembers a prefix that is too large, and says which one might do.
func (s *searches) refuse(prefix, longer string) error {
	p := invalidAt("query.prefix", fmt.Sprintf("more than %d keys or %d MiB begin so: expected a longer one, such as %s", mostKeys, mostBytes>>20, longer))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vast[prefix] = vast{time.Now(), p}
	return p
}

// has reports whether a key, or its value if that is not hidden, has something in it.
func has(e backend.Entry, sought []byte, hidden []string) bool {
	return bytes.Contains(bytes.ToLower([]byte(e.Key)), sought) || !isIn(hidden, e.Key) && bytes.Contains(bytes.ToLower(e.Value), sought)
}

// GetKey reads a key. Its value is whole, unless it is secret.
func (s *Service) GetKey(ctx context.Context, in *KeyQuery) (*Versioned[Key], error) {
	if err := s.allow(ctx, access.Viewer); err != nil {
		return nil, err
	}
	e, err := s.cfg.Store.Get(ctx, in.Key)
	if err != nil {
		return nil, s.refuse(err, noSuchKey)
	}
	return &Versioned[Key]{etag(e.Revision), showKey(e, backend.MaxValue, hiddenFrom(ctx))}, nil
}

// PutKey writes a key. It frees the key from its lease.
func (s *Service) PutKey(ctx context.Context, in *KeyInput) (*Versioned[Key], error) {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return nil, err
	}
	seen, err := in.revision()
	if err != nil {
		return nil, err
	}
	before, err := s.changeable(ctx, in.KeyQuery, seen)
	if err != nil {
		return nil, err
	}
	k, err := do(ctx, s, deed{access.Admin, "key.put", in.Key}, before, noSuchKey, func(ctx context.Context) (Key, error) {
		value := []byte(in.Body.Value)
		revision, err := s.cfg.Store.Put(ctx, in.Key, value, backend.If(in.Key, seen))
		return showKey(backend.Entry{Key: in.Key, Value: value, Revision: revision}, maxShown, secrets), err
	})
	if err != nil {
		return nil, err
	}
	return &Versioned[Key]{etag(k.Revision), k}, nil
}

// DeleteKey deletes a key.
func (s *Service) DeleteKey(ctx context.Context, in *KeySeen) (*struct{}, error) {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return nil, err
	}
	seen, err := in.revision()
	if err != nil {
		return nil, err
	}
	before, err := s.changeable(ctx, in.KeyQuery, seen)
	if err != nil {
		return nil, err
	}
	_, err = do(ctx, s, deed{access.Admin, "key.delete", in.Key}, before, noSuchKey, func(ctx context.Context) (any, error) {
		return nil, s.cfg.Store.Delete(ctx, in.Key, backend.If(in.Key, seen))
	})
	return nil, err
}

// changeable is a key that may be changed, as it was seen: nil if it is not there.
func (s *Service) changeable(ctx context.Context, in KeyQuery, seen backend.Revision) (any, error) {
	if err := backend.CheckKey(in.Key); err != nil {
		return nil, invalidAt("query.key", err.Error())
	}
	if why := guard(in.Key); why != "" {
		return nil, problem(forbidden, fmt.Sprintf("%s can't be changed here: %s", in.Key, why))
	}
	if seen == 0 {
		return nil, nil
	}
	e, err := s.cfg.Store.Get(ctx, in.Key)
	switch {
	case err != nil:
		return nil, s.refuse(err, noSuchKey)
	case e.Revision != seen:
		return nil, stale(e.Revision)
	}
	return showKey(e, maxShown, secrets), nil
}

// showKey is a key with so many bytes of its value, none if it is in a directory that is
// hidden.
func showKey(e backend.Entry, most int, hidden []string) Key {
	k := Key{Key: e.Key, Revision: e.Revision, Lease: e.Lease, Bytes: len(e.Value), Secret: isIn(hidden, e.Key), Guarded: guard(e.Key)}
	if k.Secret {
		return k
	}
	value := e.Value
	k.Binary = !utf8.Valid(value) || bytes.ContainsRune(value, 0)
	if k.Cut = len(value) > most; k.Cut {
		value = value[:most]
	}
	if k.Binary {
		k.Value = hex.EncodeToString(value)
	} else {
		k.Value = strings.ToValidUTF8(string(value), "")
	}
	return k
}

// hiddenFrom are the directories whose values who asks is not shown.
func hiddenFrom(ctx context.Context) []string {
	if access.Check(ctx, access.Operator) != nil {
		return append(slices.Clone(secrets), salesDir)
	}
	return secrets
}

func isIn(dirs []string, key string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(key, dir) })
}

// guard says why a key is not to be changed by hand, "" if it may be.
func guard(key string) string {
	for _, g := range guarded {
		if strings.HasPrefix(key, g.dir) {
			return g.why
		}
	}
	return ""
}
