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
	weights map[string]Weight // by node
}

// A result is what an entry was found to be: a node, or a problem if err is set.
type result struct {
	node     Node
	revision backend.Revision
	err      error
}

func newContent(dir string) content {
	return content{dir: dir, results: map[string]result{}, drains: map[string]Drain{}, weights: map[string]Weight{}}
}

// take takes in what a key has become, which is absent at revision 0, and
// returns the names under which that can be looked up: ids of nodes. Consul's own
// pages make a "folder" as an empty key with a slash at the end; its name is
// empty, and it is nothing.
func (c content) take(e backend.Entry) (names []string) {
	name := strings.TrimPrefix(e.Key, c.dir)
	if id, ok := wordOn(name, drainKey); ok {
		if delete(c.drains, id); e.Revision != 0 {
			c.drains[id] = readDrain(e.Value)
		}
		return c.at(id)
	}
	if id, ok := wordOn(name, weightKey); ok {
		c.weigh(id, name, e)
		return c.at(id)
	}
	if delete(c.results, name); name != "" && e.Revision != 0 {
		c.results[name] = read(name, e)
	}
	return []string{name}
}

// at are the names of the processes at a node's place: who has it, and who waits for it.
func (c content) at(place string) (names []string) {
	for name, r := range c.results {
		if r.node.Place() == place {
			names = append(names, name)
		}
	}
	return names
}

// wordOn finds the node that a key is an operator's word on.
func wordOn(name, word string) (id string, ok bool) {
	id, ok = strings.CutSuffix(name, word)
	return id, ok && checkID(id) == nil
}

// weigh takes in a node's weight; one that can't be read is a problem.
func (c content) weigh(id, name string, e backend.Entry) {
	delete(c.weights, id)
	delete(c.results, name)
	if e.Revision == 0 {
		return
	}
	w, err := readWeight(e)
	if err != nil {
		c.results[name] = result{revision: e.Revision, err: err}
		return
	}
	c.weights[id] = w
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
	if drain, ok := c.drains[r.node.Place()]; ok {
		r.node.Drain = &drain
	}
	if weight, ok := c.weights[r.node.Place()]; ok {
		r.node.Weight, r.node.Weighed = weight.Weight, &weight
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
