package admin

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/app/web"
)

// maxBody bounds what is sent with a request, in bytes: a config is the largest.
const maxBody = 256 << 10

// slow is how long an operation may take that reads much: server's timeouts are for
// others. Package client waits a little longer.
const slow = 6 * time.Minute

// An API is the service over HTTP.
type API struct {
	*web.Service
	s *Service
}

// ready says why operators should not come, nil if they may.
func (s *Service) ready() error {
	if err := s.cfg.Node.Ready(); err != nil {
		return err
	}
	return s.cfg.Access.Ready()
}

// NewAPI makes it. To be of use its handler has to stand behind
// [access.Access.Authenticate] and [access.CrossOrigin]: see [API.Handler].
func NewAPI(s *Service) *API {
	a := &API{web.New("Flash sale administration", s.cfg.Version, s.ready, nil), s}
	a.describe()
	a.addCatalogue()
	a.addEvents()
	a.addOrders()
	a.addNodes()
	a.addConfig()
	a.addRollouts()
	a.addAccess()
	a.addStore()
	return a
}

// Handler is the API behind everything that keeps strangers out: whoever sends a request
// to anything but what is open to strangers has to be known. Browsers take no answer for
// anything but what it says it is.
func (a *API) Handler() http.Handler {
	guarded := access.CrossOrigin(a.s.cfg.Access.Authenticate(Remember(Guard(a))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		guarded.ServeHTTP(w, r)
	})
}

// open is what strangers may ask for: load balancers do, and browsers before the login.
// Someone whose password was for one use may go no further.
func open(path string) bool {
	switch path {
	case "/livez", "/readyz", "/openapi.json", "/v1/login", "/v1/logout", "/v1/password", "/v1/session":
		return true
	}
	return false
}

// Guard lets nobody through who is not known, but to what is open.
func Guard(next http.Handler) http.Handler {
	known := access.Require(access.Viewer)(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		known.ServeHTTP(w, r)
	})
}

func (a *API) describe() {
	d := a.OpenAPI()
	d.Info.Description = "What operators do. Every refusal is a problem (RFC 9457) with a `code` that never changes. " +
		"A change of something that has an `ETag` names it in `If-Match`: 428 without, 412 if it is another one by now, with the `ETag` of that if it is there. " +
		"viewers read, operators run sales, nodes and exports, admins the config, rollouts, pushes to nodes, users and tokens. " +
		"Whatever is changed is in the audit log."
	d.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "An API token"},
		"session": {Type: "apiKey", In: "cookie", Name: "seckill", Description: "A session of the console, after a login; over TLS the cookie is __Host-seckill"},
	}
	d.Security = []map[string][]string{{"token": {}}, {"session": {}}}
}

// Codes that operations have in common.
var (
	reading  = []code{unauthenticated, mustChange, unavailable}
	changing = []code{unauthenticated, mustChange, forbidden, unavailable, unknown, full}
	sending  = []code{malformed, invalid, tooLarge, unsupported}
	editing  = []code{noPrecondition, changed, invalid}
)

// operation describes one. The first part of its path, after the version, is its tag.
func (a *API) operation(id, method, path, summary string, codes ...[]code) huma.Operation {
	tag, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/")
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag}, MaxBodyBytes: maxBody,
		Responses: map[string]*huma.Response{},
	}
	if method != http.MethodGet {
		codes = append(codes, also(forbidden)) // from a page of another origin
	}
	seen := map[code]bool{}
	for _, set := range codes {
		for _, c := range set {
			if !seen[c] {
				seen[c] = true
				a.refusal(op.Responses, c)
			}
		}
	}
	return op
}

// refusal describes a problem in the document.
func (a *API) refusal(responses map[string]*huma.Response, c code) {
	m := meanings[c]
	status, text := strconv.Itoa(m.status), fmt.Sprintf("%#q: %s.", string(c), m.text)
	r := responses[status]
	if r == nil {
		r = &huma.Response{Content: map[string]*huma.MediaType{web.ProblemType: web.ProblemSchema(a.OpenAPI().Components.Schemas)}}
		responses[status] = r
	}
	r.Description = strings.TrimSpace(r.Description + " " + text)
}

// also is one more code.
func also(codes ...code) []code { return codes }

// made says that an operation answers with 201.
func made(op huma.Operation) huma.Operation {
	op.DefaultStatus = http.StatusCreated
	return op
}

func (a *API) addCatalogue() {
	s := a.s
	huma.Register(a, a.operation("list-goods", http.MethodGet, "/v1/goods", "The goods that events sell", reading, also(invalid)), s.ListGoods)
	huma.Register(a, a.operation("get-goods", http.MethodGet, "/v1/goods/{id}", "Goods", reading, also(noSuchGoods, invalid, unreadable)), s.GetGoods)
	huma.Register(a, a.operation("put-goods", http.MethodPut, "/v1/goods/{id}", "Make or change goods", changing, sending, editing, also(noSuchGoods)), s.PutGoods)
	huma.Register(a, a.operation("delete-goods", http.MethodDelete, "/v1/goods/{id}", "Delete goods; events that sell them are shown without", changing, editing, also(noSuchGoods)), s.DeleteGoods)
	huma.Register(a, a.operation("list-topics", http.MethodGet, "/v1/topics", "The pages of events", reading, also(invalid)), s.ListTopics)
	huma.Register(a, a.operation("get-topic", http.MethodGet, "/v1/topics/{id}", "A page of events", reading, also(noSuchTopic, invalid, unreadable)), s.GetTopic)
	huma.Register(a, a.operation("put-topic", http.MethodPut, "/v1/topics/{id}", "Make or change a page", changing, sending, editing, also(noSuchTopic)), s.PutTopic)
	huma.Register(a, a.operation("delete-topic", http.MethodDelete, "/v1/topics/{id}", "Delete a page, not its events", changing, editing, also(noSuchTopic)), s.DeleteTopic)
}

func (a *API) addEvents() {
	s := a.s
	huma.Register(a, a.operation("list-events", http.MethodGet, "/v1/events", "The events, the newest first", reading, also(invalid)), s.ListEvents)
	huma.Register(a, a.operation("get-event", http.MethodGet, "/v1/events/{id}", "An event", reading, also(noSuchEvent, unreadable)), s.GetEvent)
	draft := []code{malformed, invalid, tooLarge, unsupported}
	huma.Register(a, made(a.withDraft(a.operation("create-event", http.MethodPost, "/v1/events", "Make a draft", changing, draft))), s.CreateEvent)
	huma.Register(a, a.withDraft(a.operation("edit-event", http.MethodPut, "/v1/events/{id}", "Change a draft: what is left out is as in a new one", changing, draft, editing, also(noSuchEvent, wrongStatus))), s.EditEvent)
	huma.Register(a, a.operation("delete-event", http.MethodDelete, "/v1/events/{id}", "Delete a draft", changing, editing, also(noSuchEvent, wrongStatus)), s.DeleteEvent)
	for _, step := range []struct {
		name, summary string
		do            func(*Service) stepFunc
		also          []code
	}{
		{"publish", "Have a draft sell", func(s *Service) stepFunc { return s.PublishEvent }, also(noRoom)},
		{"suspend", "Stop selling for now: orders are paid and cancelled as before", func(s *Service) stepFunc { return s.SuspendEvent }, nil},
		{"resume", "Go on selling", func(s *Service) stepFunc { return s.ResumeEvent }, nil},
		{"close", "End a sale for good", func(s *Service) stepFunc { return s.CloseEvent }, nil},
	} {
		op := a.operation(step.name+"-event", http.MethodPost, "/v1/events/{id}/"+step.name, step.summary, changing, editing, also(noSuchEvent, wrongStatus), step.also)
		huma.Register(a, op, step.do(s))
	}
	huma.Register(a, a.operation("get-figures", http.MethodGet, "/v1/events/{id}/figures", "How an open sale stands, approximately", reading, also(noSuchEvent, notLive)), s.LiveFigures)
	verify := a.operation("verify-event", http.MethodPost, "/v1/events/{id}/verify", "Hold a sale against its rules, by what the store has of it", reading, also(forbidden, noSuchEvent, busy))
	verify.Middlewares = huma.Middlewares{patient}
	huma.Register(a, verify, s.VerifyEvent)
	a.addStream()
}

// withDraft describes the body of an operation that takes a draft.
func (a *API) withDraft(op huma.Operation) huma.Operation {
	schemas := a.OpenAPI().Components.Schemas
	schema := *huma.SchemaFromType(schemas, reflect.TypeFor[record.Event]())
	schema.Required = nil
	properties := map[string]*huma.Schema{}
	for name, property := range schema.Properties {
		if name != "status" {
			properties[name] = property
		}
	}
	schema.Properties = properties
	schemas.Map()["Draft"] = &schema
	op.RequestBody = &huma.RequestBody{
		Required:    true,
		Description: "What is left out is as in a new draft: open from now on, one unit for each buyer, 16 slots, a quarter of an hour to pay",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Draft"}}},
	}
	op.SkipValidateBody = true // what reads it tells line and column
	op.Middlewares = append(op.Middlewares, jsonOnly)
	return op
}

// jsonOnly refuses other media where nothing else looks.
func jsonOnly(ctx huma.Context, next func(huma.Context)) {
	if !web.IsJSON(ctx.Header("Content-Type")) {
		web.Refuse(ctx, problem(unsupported, ""))
		return
	}
	next(ctx)
}

// patient lets an operation answer late.
func patient(ctx huma.Context, next func(huma.Context)) {
	if err := unwrap(ctx).SetWriteDeadline(time.Now().Add(slow)); err != nil {
		next(ctx) // within the server's own timeout then
		return
	}
	next(ctx)
}

func (a *API) addStream() {
	op := a.operation("stream-figures", http.MethodGet, "/v1/events/{id}/live", "Be told how an open sale stands, as it changes", reading, also(noSuchEvent, notLive, throttled))
	a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Live](), true, "Live")
	op.Responses["200"] = &huma.Response{
		Description: "Server-sent events: `figures` at once and when they have changed, at most two a second; `ended`, as the last one, when the sale is open no more. " +
			"The data of each is a Live. A comment comes every 15 seconds.",
		Content: map[string]*huma.MediaType{web.EventStream: {Schema: &huma.Schema{Type: huma.TypeString, Description: "The data of each event is a Live"}}},
	}
	op.Parameters = []*huma.Param{idParam("The event's id")}
	a.Handle(&op, http.HandlerFunc(a.s.stream))
}

func idParam(doc string) *huma.Param {
	return &huma.Param{Name: "id", In: "path", Required: true, Description: doc, Schema: &huma.Schema{Type: huma.TypeString}}
}

func (a *API) addOrders() {
	find := a.operation("find-orders", http.MethodGet, "/v1/orders", "Search orders: of an event, of a buyer, or one by its id", reading, also(forbidden, invalid, noSuchEvent, noOrders, unreadable, busy))
	find.Middlewares = huma.Middlewares{patient}
	huma.Register(a, find, a.s.FindOrders)

	op := a.operation("export-orders", http.MethodGet, "/v1/events/{id}/orders", "The orders of a sale, as they stand, as a file", reading, also(forbidden, full, invalid, noSuchEvent, noOrders, unreadable, busy))
	op.Description = "It is streamed, slot after slot. One that can't be read to its end is cut off: the connection ends without the end of the body."
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	op.Responses["200"] = &huma.Response{Description: "All orders", Content: map[string]*huma.MediaType{"text/csv; charset=utf-8": text, "application/x-ndjson": text}}
	op.Parameters = []*huma.Param{idParam("The event's id"), {Name: "format", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"csv", "ndjson"}, Default: "csv"}}}
	a.Handle(&op, http.HandlerFunc(a.s.export))
}

func (a *API) addNodes() {
	s := a.s
	list := a.operation("list-nodes", http.MethodGet, "/v1/nodes", "The nodes that are listed", also(unauthenticated, mustChange))
	list.Description = "From this process's copy of the list, also while the store is away: see synced and stalenessSeconds."
	huma.Register(a, list, s.ListNodes)
	huma.Register(a, a.operation("get-node", http.MethodGet, "/v1/nodes/{id}", "A node, with what it says about itself", also(unauthenticated, mustChange, noSuchNode)), s.GetNode)
	huma.Register(a, a.operation("drain-node", http.MethodPut, "/v1/nodes/{id}/drain", "Have a node get no more requests, and hand its slots over", changing, sending, also(noSuchNode, changed)), s.DrainNode)
	huma.Register(a, a.operation("undrain-node", http.MethodDelete, "/v1/nodes/{id}/drain", "Let it have requests again", changing, also(noSuchNode, changed)), s.UndrainNode)
	huma.Register(a, a.operation("weigh-node", http.MethodPut, "/v1/nodes/{id}/weight", "Give a node another part of the requests", changing, sending, also(noSuchNode, changed)), s.WeighNode)
	huma.Register(a, a.operation("unweigh-node", http.MethodDelete, "/v1/nodes/{id}/weight", "Give it its own weight back", changing, also(noSuchNode, changed)), s.UnweighNode)
	told := []code{unauthenticated, mustChange, forbidden, unavailable, full, noSuchNode, unreachable}
	huma.Register(a, a.operation("push-config", http.MethodPut, "/v1/nodes/{id}/push", "Put a config in force at one node, for a while", told, sending), s.PushConfig)
	huma.Register(a, a.operation("clear-config", http.MethodDelete, "/v1/nodes/{id}/push", "End that", told), s.ClearConfig)
	huma.Register(a, a.operation("reload-node", http.MethodPost, "/v1/nodes/{id}/reload", "Have a node load something again", told, sending, also(refused)), s.ReloadNode)
	huma.Register(a, a.operation("get-blacklist", http.MethodGet, "/v1/blacklist", "How the nodes' blacklists stand", also(unauthenticated, mustChange)), s.GetBlacklist)
	sd := a.operation("discover-nodes", http.MethodGet, "/sd/prometheus", "Where monitoring finds the nodes: Prometheus HTTP service discovery", reading)
	sd.Tags = []string{"nodes"}
	huma.Register(a, sd, s.Discover)
}

func (a *API) addConfig() {
	s := a.s
	huma.Register(a, a.operation("get-config", http.MethodGet, "/v1/config", "The cluster config: what is published, what is in force, and where", also(unauthenticated, mustChange)), s.GetConfig)
	huma.Register(a, a.operation("validate-config", http.MethodPost, "/v1/config/validate", "What would be wrong with a config", also(unauthenticated, mustChange), sending), s.ValidateConfig)
	huma.Register(a, a.operation("diff-config", http.MethodPost, "/v1/config/diff", "What a config would change", reading, sending), s.DiffConfig)
	huma.Register(a, a.operation("publish-config", http.MethodPut, "/v1/config", "Publish a config", changing, sending, editing), s.PublishConfig)
	huma.Register(a, a.operation("delete-config", http.MethodDelete, "/v1/config", "Delete it: nodes go by their own settings then", changing, editing), s.DeleteConfig)
	huma.Register(a, a.operation("rollback-config", http.MethodPost, "/v1/config/rollback", "Publish an earlier version again, as a new one", changing, sending, editing, also(noSuchVersion)), s.RollbackConfig)
	huma.Register(a, a.operation("list-versions", http.MethodGet, "/v1/config/history", "The versions of the config, the newest first", reading, also(invalid)), s.ListVersions)
	huma.Register(a, a.operation("get-version", http.MethodGet, "/v1/config/history/{revision}", "A version of the config", reading, also(invalid, noSuchVersion)), s.GetVersion)
	huma.Register(a, a.operation("get-consistency", http.MethodGet, "/v1/config/consistency", "Whether the nodes have in force what they should", reading), s.GetConsistency)
}

func (a *API) addRollouts() {
	s := a.s
	huma.Register(a, a.operation("get-rollout", http.MethodGet, "/v1/config/rollout", "How the present gray release stands, node by node", reading, also(noSuchRollout)), s.GetRollout)
	huma.Register(a, made(a.operation("start-rollout", http.MethodPost, "/v1/config/rollout", "Try a config on some of the nodes", changing, sending, editing, also(rolloutOver))), s.StartRollout)
	advancing := also(noSuchRollout, rolloutOver)
	huma.Register(a, a.operation("retarget-rollout", http.MethodPut, "/v1/config/rollout/{id}/target", "Change which nodes are on trial", changing, sending, editing, advancing), s.RetargetRollout)
	huma.Register(a, a.operation("promote-rollout", http.MethodPost, "/v1/config/rollout/{id}/promote", "Publish what is on trial for all nodes", changing, sending, advancing), s.PromoteRollout)
	huma.Register(a, a.operation("abandon-rollout", http.MethodPost, "/v1/config/rollout/{id}/abandon", "Take what is on trial off all nodes", changing, sending, advancing), s.AbandonRollout)
}

func (a *API) addAccess() {
	s := a.s
	open := func(op huma.Operation) huma.Operation {
		op.Security = []map[string][]string{{}}
		return op
	}
	huma.Register(a, open(a.operation("login", http.MethodPost, "/v1/login", "Begin a session", sending, also(unauthenticated, throttled, unavailable, unknown))), s.Login)
	huma.Register(a, a.operation("logout", http.MethodPost, "/v1/logout", "End the session", also(unavailable, unknown)), s.Logout)
	huma.Register(a, a.operation("change-password", http.MethodPut, "/v1/password", "Change one's own password, which ends all sessions there were", sending, also(unauthenticated, forbidden, throttled, unavailable, unknown)), s.ChangePassword)
	huma.Register(a, a.operation("get-session", http.MethodGet, "/v1/session", "Who one is", also(unauthenticated)), s.Whoami)

	listing := also(unauthenticated, mustChange, forbidden, unavailable)
	account := also(unauthenticated, mustChange, forbidden, unavailable, unknown, full)
	huma.Register(a, a.operation("list-users", http.MethodGet, "/v1/users", "Who may log in", listing), s.ListUsers)
	huma.Register(a, made(a.operation("add-user", http.MethodPost, "/v1/users", "Let somebody in, with a password for one use", account, sending, also(exists))), s.AddUser)
	huma.Register(a, a.operation("set-role", http.MethodPut, "/v1/users/{name}/role", "Give a user another role, which ends the user's sessions", account, sending, also(notFound, lastAdmin)), s.SetRole)
	huma.Register(a, a.operation("reset-password", http.MethodPost, "/v1/users/{name}/password", "Give a user another password for one use", account, also(notFound)), s.ResetPassword)
	huma.Register(a, a.operation("remove-user", http.MethodDelete, "/v1/users/{name}", "Let somebody in no more", account, also(notFound, lastAdmin)), s.RemoveUser)
	huma.Register(a, a.operation("list-tokens", http.MethodGet, "/v1/tokens", "Which programs are let in", listing), s.ListTokens)
	huma.Register(a, made(a.operation("create-token", http.MethodPost, "/v1/tokens", "Let a program in", account, sending, also(notFound))), s.CreateToken)
	huma.Register(a, a.operation("revoke-token", http.MethodDelete, "/v1/tokens/{id}", "Let a program in no more", account, also(notFound)), s.RevokeToken)
	huma.Register(a, a.operation("list-audit", http.MethodGet, "/v1/audit", "Who did what, the newest first", reading, also(invalid)), s.ListAudit)
	huma.Register(a, a.operation("list-jobs", http.MethodGet, "/v1/jobs", "What admins do by themselves, and how that went last", reading), s.ListJobs)
}

func (a *API) addStore() {
	s := a.s
	huma.Register(a, a.operation("get-store", http.MethodGet, "/v1/store", "How the store is", also(unauthenticated, mustChange)), s.Health)
	list := a.operation("list-keys", http.MethodGet, "/v1/keys", "Search the store's keys", reading, also(forbidden, invalid, throttled))
	list.Description = fmt.Sprintf("A prefix with more than %d keys or %d MiB is refused; a longer one is named then. One that has keys below %s, as the empty one does, is for operators. "+
		"One search of a user goes on at a time.", mostKeys, mostBytes>>20, salesDir)
	list.Middlewares = huma.Middlewares{patient}
	huma.Register(a, list, s.ListKeys)
	huma.Register(a, a.operation("get-key", http.MethodGet, "/v1/key", "A key", reading, also(invalid, noSuchKey)), s.GetKey)
	put := a.operation("put-key", http.MethodPut, "/v1/key", "Write a key, which nobody checks, and free it from its lease", changing, sending, editing, also(noSuchKey))
	put.MaxBodyBytes = maxKeyBody
	huma.Register(a, put, s.PutKey)
	huma.Register(a, a.operation("delete-key", http.MethodDelete, "/v1/key", "Delete a key", changing, editing, also(noSuchKey)), s.DeleteKey)
}

type stepFunc = func(context.Context, *EventSeen) (*Versioned[event.Event], error)

func unwrap(ctx huma.Context) *http.ResponseController {
	_, w := humago.Unwrap(ctx)
	return http.NewResponseController(w)
}
