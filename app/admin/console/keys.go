package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/web"
)

type keysPage struct {
	Prefix, Contains string
	List             *admin.KeyList
	Folders          []string
}

// folders are where to begin, for those who do not know what there is.
func folders(role access.Role) []string {
	all := []string{"config", "events/", "goods/", "topics/", "nodes/", "history/", "audit/", "admin/"}
	if role.Includes(access.Operator) {
		all = append(all, "sales/")
	}
	return all
}

// keys searches the store, once something is said: all of it is much.
func (p *page) keys() error {
	query := p.r.URL.Query()
	k := keysPage{Prefix: query.Get("prefix"), Contains: query.Get("contains"), Folders: folders(p.who.Role)}
	if !query.Has("prefix") && !query.Has("contains") {
		return p.show(http.StatusOK, "keys", "Keys", k)
	}
	list, err := p.cfg.Service.ListKeys(p.ctx, &admin.KeysQuery{Prefix: k.Prefix, Contains: k.Contains, After: query.Get("after")})
	if err != nil {
		problem := p.problem(err)
		return p.show(problem.Status, "keys", "Keys", k, troubled(problem))
	}
	k.List = &list.Body
	return p.show(http.StatusOK, "keys", "Keys", k, p.more(list.Body.Next))
}

type keyPage struct {
	Key, ETag, Value string
	New              bool
	Folder           string
	Entry            admin.Key
}

func keyAt(key string) string { return "/key?key=" + url.QueryEscape(key) }

func (p *page) newKey() error {
	return p.show(http.StatusOK, "key", "New key", keyPage{New: true})
}

func (p *page) readKey(key string) (keyPage, error) {
	k, err := p.cfg.Service.GetKey(p.ctx, &admin.KeyQuery{Key: key})
	if err != nil {
		return keyPage{}, err
	}
	return keyPage{Key: key, ETag: k.ETag, Value: k.Body.Value, Folder: folderOf(key), Entry: k.Body}, nil
}

func folderOf(key string) string { return key[:strings.LastIndexByte(key, '/')+1] }

func (p *page) key() error {
	at := p.r.URL.Query().Get("key")
	if at == "" {
		return p.onward("/keys")
	}
	k, err := p.readKey(at)
	if err != nil {
		return err
	}
	return p.show(http.StatusOK, "key", k.Key, k)
}

func (p *page) saveKey() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	in := &admin.KeyInput{KeyQuery: admin.KeyQuery{Key: form.Get("key")}, SeenOrNew: seenOrNew(form)}
	in.Body.Value = form.Get("value")
	_, err = p.cfg.Service.PutKey(p.ctx, in)
	if err == nil {
		return p.leave(keyAt(in.Key), flash{"good", "Saved."})
	}
	problem := p.problem(err)
	if final(problem) && problem.Status != http.StatusNotFound {
		return problem
	}
	k := keyPage{Key: in.Key, ETag: form.Get("etag"), Value: in.Body.Value, New: form.Get("etag") == "", Folder: folderOf(in.Key)}
	if problem.Status == http.StatusPreconditionFailed || problem.Status == http.StatusNotFound {
		return p.keyConflict(k)
	}
	return p.show(problem.Status, "key", k.Key, k, troubled(problem))
}

// keyConflict shows what somebody else has written meanwhile beside what was typed.
func (p *page) keyConflict(typed keyPage) error {
	now, err := p.readKey(typed.Key)
	if err != nil && p.problem(err).Status != http.StatusNotFound {
		return err
	}
	c := compare(typed.ETag, now.ETag, []field{{"Value", typed.Value}}, []field{{"Value", now.Value}})
	typed.ETag, typed.Entry, typed.New = now.ETag, now.Entry, now.ETag == ""
	return p.show(http.StatusPreconditionFailed, "key", typed.Key, typed, conflicting(c))
}

func (p *page) confirmKey() error {
	k, err := p.readKey(p.r.URL.Query().Get("key"))
	if err != nil {
		return err
	}
	if k.Entry.Guarded != "" {
		return web.NewProblem(http.StatusForbidden, "forbidden", "That key can’t be changed here: "+k.Entry.Guarded+".")
	}
	return p.confirm(confirmation{
		Question: "Delete this key?", Action: p.r.URL.RequestURI(), Back: keyAt(k.Key), Button: "Delete", Destroys: true, Type: k.Key,
		Consequences: []string{"It is gone from the store at once, for everybody who goes by it. It can’t be undone."},
		Facts:        []fact{{"Key", k.Key}, {"Size", grouped(k.Entry.Bytes) + " bytes"}},
		Hidden:       []hidden{{"etag", k.ETag}, {"key", k.Key}},
	})
}

func (p *page) deleteKey() error {
	form, err := p.form()
	if err != nil {
		return err
	}
	key := form.Get("key")
	if _, err := p.confirmed(key); err != nil {
		return err
	}
	_, err = p.cfg.Service.DeleteKey(p.ctx, &admin.KeySeen{KeyQuery: admin.KeyQuery{Key: key}, Seen: seen(form)})
	return p.did(err, "/keys?prefix="+url.QueryEscape(folderOf(key)), key+" is deleted.", keyAt(key))
}
