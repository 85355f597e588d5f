package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/internal/near"
	"github.com/seed27495941/seckill/recipe/registry"
)

const (
	// pagePatience is how long a node may take to show its status.
	pagePatience = 2 * time.Second

	// maxPage bounds that, in bytes.
	maxPage = 1 << 20
)

// A NodeList is the nodes that are listed.
type NodeList struct {
	Nodes    []Node        `json:"nodes" nullable:"false"`
	Drains   []DrainedNode `json:"drains" nullable:"false" doc:"Nodes that are drained, listed or not"`
	Problems []Stray       `json:"problems,omitempty" nullable:"false" doc:"Keys among the nodes that are none"`

	Synced           bool    `json:"synced" doc:"Whether the list was read at all"`
	StalenessSeconds float64 `json:"stalenessSeconds" doc:"Time since the store last confirmed the list"`
}

// A Node is one that is listed, as it says about itself.
type Node struct {
	ID string `json:"id"`
	registry.Node
	Drained  *registry.Drain  `json:"drained,omitempty" doc:"By an operator"`
	Weighed  *registry.Weight `json:"weighed,omitempty" doc:"By an operator: weight is that, and not the node's own"`
	Serves   bool             `json:"serves" doc:"Whether it should get requests"`
	Warnings []string         `json:"warnings,omitempty" nullable:"false"`
}

// State says in a word what becomes of requests to the node.
func (n Node) State() string {
	switch {
	case n.Drained != nil:
		return "drained" // by an operator
	case n.Draining:
		return "draining" // it is about to stop
	case n.Health == registry.Critical:
		return "critical"
	case !n.Serves:
		return "waiting" // for the process that has its address
	case n.Health == registry.Warning:
		return "warning"
	}
	return "ready"
}

// A DrainedNode is an operator's word on a node.
type DrainedNode struct {
	ID     string `json:"id"`
	Listed bool   `json:"listed"`
	registry.Drain
}

// A Stray is a key that is no node's.
type Stray struct {
	Key      string           `json:"key"`
	Revision backend.Revision `json:"revision"`
	Error    string           `json:"error"`
}

// A NodeDetail is all that is known of a node.
type NodeDetail struct {
	Node
	Status      json.RawMessage `json:"status,omitempty" doc:"What it shows at its ops address, if it says where that is"`
	StatusError string          `json:"statusError,omitempty" doc:"Why there is none"`
}

// NodePath names a node.
type NodePath struct {
	ID string `path:"id" maxLength:"512" doc:"The node's id, as it is listed"`
}

// DrainInput says why a node is to get no more requests.
type DrainInput struct {
	NodePath
	Body struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

// ListNodes lists the nodes from this process's copy, also while the store is away.
func (s *Service) ListNodes(context.Context, *struct{}) (*Answer[NodeList], error) {
	list := NodeList{Nodes: []Node{}, Drains: []DrainedNode{}}
	for _, n := range s.directory.Nodes() {
		list.Nodes = append(list.Nodes, showNode(n))
	}
	for id, d := range s.directory.Drains() {
		_, listed := s.directory.Node(id)
		list.Drains = append(list.Drains, DrainedNode{id, listed, d})
	}
	slices.SortFunc(list.Drains, func(a, b DrainedNode) int { return strings.Compare(a.ID, b.ID) })
	for _, p := range s.directory.Problems() {
		list.Problems = append(list.Problems, Stray{p.Key, p.Revision, p.Err.Error()})
	}
	if staleness := s.directory.Staleness(); staleness >= 0 {
		list.Synced, list.StalenessSeconds = true, staleness.Seconds()
	}
	return answer(list), nil
}

func showNode(n registry.Node) Node {
	shown := Node{ID: n.ID, Node: n, Drained: n.Drain, Weighed: n.Weighed, Serves: n.Serves()}
	if w := opsWarning(n); w != "" {
		shown.Warnings = append(shown.Warnings, w)
	}
	return shown
}

// opsWarning says why monitoring on another machine can't see a node, "" if it can.
func opsWarning(n registry.Node) string {
	switch {
	case n.Ops == "":
		return "it tells no ops address (--ops-advertise): monitoring does not find it"
	case settings.IsLoopback(n.Ops):
		return fmt.Sprintf("its ops address %s is its own machine's only (--ops-bind, --ops-advertise): monitoring does not find it", n.Ops)
	}
	return ""
}

// GetNode tells all that is known of a node, and asks it how it stands.
func (s *Service) GetNode(ctx context.Context, in *NodePath) (*Answer[NodeDetail], error) {
	n, err := s.node(in.ID)
	if err != nil {
		return nil, err
	}
	detail := NodeDetail{Node: showNode(n)}
	if detail.Status, err = s.statusOf(ctx, n); err != nil {
		detail.StatusError = err.Error()
	}
	return answer(detail), nil
}

// node finds a node that is listed.
func (s *Service) node(id string) (registry.Node, error) {
	n, ok := s.directory.Node(id)
	if !ok {
		return registry.Node{}, problem(noSuchNode, s.noNode(id))
	}
	return n, nil
}

// noNode says that there is no such node, and which there are whose names are near.
func (s *Service) noNode(id string) string {
	var near []string
	for _, n := range s.directory.Nodes() {
		if isNear(id, n.ID) {
			near = append(near, n.ID)
		}
	}
	text := fmt.Sprintf("There is no node %.80q", id)
	if len(near) == 0 {
		return text
	}
	return text + "; near that: " + strings.Join(near[:min(len(near), 5)], ", ")
}

// isNear reports whether a name may be meant by another one: one is a part of the
// other, once the signs in an address count as the dashes in an id, or they differ by two
// characters at most.
func isNear(asked, name string) bool {
	asked = strings.NewReplacer(".", "-", ":", "-", "[", "", "]", "").Replace(asked)
	return asked != "" && (strings.Contains(name, asked) || strings.Contains(asked, name)) || near.Distance(asked, name) <= 2
}

// statusOf asks a node what it says about itself.
func (s *Service) statusOf(ctx context.Context, n registry.Node) (json.RawMessage, error) {
	if n.Ops == "" {
		return nil, errors.New("the node tells no ops address")
	}
	if !isAddress(n.Ops) {
		return nil, fmt.Errorf("its ops address is %.80q, expected host:port", n.Ops)
	}
	ctx, cancel := context.WithTimeout(ctx, pagePatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Ops+"/status", http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := s.pages.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || media != "application/json" {
		return nil, fmt.Errorf("%s answers %s with %q, expected 200 with JSON", request.URL, response.Status, media)
	}
	page, err := io.ReadAll(io.LimitReader(response.Body, maxPage+1))
	switch {
	case err != nil:
		return nil, err
	case len(page) > maxPage:
		return nil, fmt.Errorf("%s has more than %d bytes", request.URL, maxPage)
	case !json.Valid(page):
		return nil, fmt.Errorf("%s has no valid JSON", request.URL)
	}
	return page, nil
}

// isAddress reports whether a text is host:port and nothing more: a node could say one
// with a path, and have this process ask for whatever it likes.
func isAddress(text string) bool {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, "/?#@\\") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// DrainNode has a node get no more requests, and hand its slots over.
func (s *Service) DrainNode(ctx context.Context, in *DrainInput) (*Answer[DrainedNode], error) {
	before, err := s.drained(ctx, in.ID, in)
	if err != nil {
		return nil, err
	}
	who, _ := access.FromContext(ctx)
	d := registry.Drain{By: who.Name, Reason: in.Body.Reason, Since: time.Now().UTC().Truncate(time.Second)}
	_, listed := s.directory.Node(in.ID)
	now, err := do(ctx, s, deed{access.Operator, "node.drain", in.ID}, before, "", func(ctx context.Context) (DrainedNode, error) {
		return DrainedNode{in.ID, listed, d}, registry.DrainNode(ctx, s.cfg.Store, "", in.ID, d)
	})
	if err != nil {
		return nil, err
	}
	return answer(now), nil
}

// UndrainNode lets a node have requests again. It is no error if it was not drained.
func (s *Service) UndrainNode(ctx context.Context, in *NodePath) (*struct{}, error) {
	before, err := s.drained(ctx, in.ID, in)
	if err != nil {
		return nil, err
	}
	_, err = do(ctx, s, deed{access.Operator, "node.undrain", in.ID}, before, "", func(ctx context.Context) (any, error) {
		return nil, registry.UndrainNode(ctx, s.cfg.Store, "", in.ID)
	})
	return nil, err
}

// drained is the drain of a node as the store has it, nil if there is none: of one that is
// listed, or was when it was drained. It is for who may do what in says with it.
func (s *Service) drained(ctx context.Context, id string, in any) (any, error) {
	if err := s.may(ctx, access.Operator, in); err != nil {
		return nil, err
	}
	_, listed := s.directory.Node(id)
	drain, err := registry.GetDrain(ctx, s.cfg.Store, "", id)
	switch {
	case !listed && (drain == nil && err == nil || errors.Is(err, backend.ErrInvalid)): // what is no id names no node
		return nil, problem(noSuchNode, s.noNode(id))
	case err != nil:
		return nil, s.refuse(err, "")
	case drain == nil:
		return nil, nil
	}
	return *drain, nil
}

// WeightInput is a node's part of the requests.
type WeightInput struct {
	NodePath
	Body struct {
		Weight int `json:"weight" minimum:"1" maximum:"1000000"`
	}
}

// WeighNode gives a node another part of the requests.
func (s *Service) WeighNode(ctx context.Context, in *WeightInput) (*Answer[registry.Weight], error) {
	before, err := s.weighed(ctx, in.ID, in)
	if err != nil {
		return nil, err
	}
	who, _ := access.FromContext(ctx)
	w := registry.Weight{Weight: in.Body.Weight, By: who.Name, Since: time.Now().UTC().Truncate(time.Second)}
	_, err = do(ctx, s, deed{access.Operator, "node.weigh", in.ID}, before, "", func(ctx context.Context) (registry.Weight, error) {
		return w, registry.WeighNode(ctx, s.cfg.Store, "", in.ID, w)
	})
	if err != nil {
		return nil, err
	}
	return answer(w), nil
}

// UnweighNode gives a node its own weight back. It is no error if it had no other.
func (s *Service) UnweighNode(ctx context.Context, in *NodePath) (*struct{}, error) {
	before, err := s.weighed(ctx, in.ID, in)
	if err != nil {
		return nil, err
	}
	_, err = do(ctx, s, deed{access.Operator, "node.unweigh", in.ID}, before, "", func(ctx context.Context) (any, error) {
		return nil, registry.UnweighNode(ctx, s.cfg.Store, "", in.ID)
	})
	return nil, err
}

// weighed is an operator's weight of a node that is listed as the store has it, nil if
// there is none. It is for who may do what in says with it.
func (s *Service) weighed(ctx context.Context, id string, in any) (any, error) {
	if err := s.may(ctx, access.Operator, in); err != nil {
		return nil, err
	}
	if _, err := s.node(id); err != nil {
		return nil, err
	}
	weight, err := registry.GetWeight(ctx, s.cfg.Store, "", id)
	if err != nil || weight == nil {
		return nil, s.refuse(err, "")
	}
	return *weight, nil
}
