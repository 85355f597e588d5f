package rollout

import (
	"encoding/json"

	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// Tell puts a report about the configuration of a key among what a node says
// about itself: what [dynconf.Options.Report] is for. Errors: as of
// [registry.Registration.Update].
func Tell(node *registry.Registration, key string, r dynconf.Report) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err // strings and numbers can be encoded
	}
	return node.Update(func(n *registry.Node) {
		if n.Configs == nil {
			n.Configs = map[string]json.RawMessage{}
		}
		n.Configs[key] = raw
	})
}
