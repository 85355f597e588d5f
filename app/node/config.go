package node

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A config is the config in force, and what it is made of besides what is published. It
// is not changed once it is current.
type config struct {
	defaults settings.Cluster // the weakest: of the process's own settings
	override *Override        // the strongest; nil: there is none
	inForce  settings.Cluster
}

// settle lays what is published over the defaults, and the override over both. Each result
// has to be good, for it is what is in force when the layer above has gone. Errors: what can't
// be used, and inForce is as before.
func (c *config) settle(published string) error {
	inForce := c.defaults
	if err := inForce.Validate(); err != nil {
		return err
	}
	layers := []string{published}
	if c.override != nil {
		layers = append(layers, c.override.Value)
	}
	for _, layer := range layers {
		if layer == "" {
			continue
		}
		var err error
		if inForce, err = lay(layer, inForce); err != nil {
			return err
		}
	}
	c.inForce = inForce
	return nil
}

// lay lays a value over a config. Errors: what can't be used.
func lay(value string, over settings.Cluster) (settings.Cluster, error) {
	c, err := over.Decode(backend.Entry{Key: settings.ConfigKey, Value: []byte(value)})
	if err == nil {
		err = c.Validate()
	}
	return c, err
}

// decode tells whether a value could be published. It counts as it was written, for
// the defaults below it may change.
func (n *Node) decode(raw []byte) (string, error) {
	_, err := lay(string(raw), n.current.Load().defaults)
	return string(raw), err
}

// change edits what the config in force is made of, and puts the result in force. Errors:
// the result can't be used, and all is as it was.
func (n *Node) change(edit func(*config)) error {
	n.changing.Lock()
	defer n.changing.Unlock()
	before := n.current.Load()
	next := *before
	edit(&next)
	if err := next.settle(n.published.Load()); err != nil {
		return err
	}
	n.current.Store(&next)
	n.cfg.Level.Set(next.inForce.Level())
	n.list(&next)
	if reflect.DeepEqual(before.inForce, next.inForce) {
		return nil
	}
	for _, f := range n.followers {
		f(next.inForce)
	}
	return nil
}

// list tells other nodes which config is in force here.
func (n *Node) list(c *config) {
	if n.place == nil {
		return
	}
	override, err := json.Marshal(c.override.note())
	if err == nil {
		err = n.place.update(func(node *registry.Node) {
			node.Config = hash(c.inForce)
			if c.override == nil {
				delete(node.Configs, OverrideKey)
				return
			}
			if node.Configs == nil {
				node.Configs = map[string]json.RawMessage{}
			}
			node.Configs[OverrideKey] = override
		})
	}
	if err != nil {
		n.cfg.Log.Error("can't tell the applied config", "error", err)
	}
}

// InForce is the config in force. It never blocks; what it refers to is shared and
// must not be modified.
func (n *Node) InForce() settings.Cluster { return n.current.Load().inForce }

// FollowConfig has f called with the config in force, and with each that follows it,
// one call at a time and in order. f must not block, nor change the config.
func (n *Node) FollowConfig(f func(settings.Cluster)) {
	n.changing.Lock()
	defer n.changing.Unlock()
	n.followers = append(n.followers, f)
	f(n.InForce())
}

// SetDefaults changes what is in force where nothing is published or pushed: at once.
// Errors: backend.ErrInvalid, and nothing has changed.
func (n *Node) SetDefaults(defaults settings.Cluster) error {
	if err := n.change(func(c *config) { c.defaults = defaults }); err != nil {
		return fmt.Errorf("%w: %w", backend.ErrInvalid, err)
	}
	return nil
}

// hash names a config by what is in force, so that nodes that do the same show
// the same, whatever was published or left to defaults.
func hash(c settings.Cluster) string {
	encoded, err := json.Marshal(c)
	if err != nil {
		return "" // strings and numbers can be encoded
	}
	return dynconf.Hash(encoded)
}
