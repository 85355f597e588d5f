package registry

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/backend"
)

// content is what the keys of a directory say. It is not safe for concurrent
// use.
type content struct {
	dir     string
	results map[string]result // by the key's part after dir
	drains  map[string]Drain  // by node
}

// A result is what an entry was found to be: a node, or a problem if err is set.
type result struct {
	node     Node
	revision backend.Revision
	err      error
}

func newContent(dir string) content {
	return content{dir: dir, results: map[string]result{}, drains: map[string]Drain{}}
}

// take takes in what a key has become, which is absent at revision 0, and
// returns the name under which that can be looked up: a node's id. Consul's own
// pages make a "folder" as an empty key with a slash at the end; its name is
// empty, and it is nothing.
func (c content) take(e backend.Entry) (name string) {
	name = strings.TrimPrefix(e.Key, c.dir)
	id, isDrain := strings.CutSuffix(name, drainKey)
	switch isDrain = isDrain && checkID(id) == nil; {
	case name == "":
	case isDrain && e.Revision == 0:
		delete(c.drains, id)
	case isDrain:
		c.drains[id] = readDrain(e.Value)
	case e.Revision == 0:
		delete(c.results, name)
	default:
		c.results[name] = read(name, e)
	}
	if isDrain {
		return id
	}
	return name
}

// read finds out what an entry is.
func read(name string, e backend.Entry) result {
	n, err := decode(e.Value)
	n.ID = name
	if strings.Contains(name, "/") {
		err = errors.New("the key is not directly in the directory")
	}
	return result{node: n, revision: e.Revision, err: err}
}

// node is the node of a name, if there is one, drained if it is.
func (c content) node(name string) (Node, bool) {
	r, ok := c.results[name]
	if !ok || r.err != nil {
		return Node{}, false
	}
	if drain, ok := c.drains[name]; ok {
		r.node.Drain = &drain
	}
	return r.node, true
}

// listing lists the nodes and the problems.
func (c content) listing() *listing {
	l := &listing{drains: maps.Clone(c.drains)}
	for _, name := range slices.Sorted(maps.Keys(c.results)) {
		if n, ok := c.node(name); ok {
			l.nodes = append(l.nodes, n)
			continue
		}
		r := c.results[name]
		l.problems = append(l.problems, Problem{Key: c.dir + name, Revision: r.revision, Err: r.err})
	}
	return l
}
