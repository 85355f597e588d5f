package dynconf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/internal/lenient"
)

// A Node is who follows a configuration, as far as rollouts are concerned.
type Node struct {
	ID     string
	Labels map[string]string
}

// A Rollout is a value on trial on some of the nodes, in force there in place
// of the published one. Its record lies beside the configuration's key (see
// [RolloutKey]); package rollout writes it.
type Rollout struct {
	ID    string `json:"id"`    // a ULID, another for each rollout
	Value string `json:"value"` // as it would be published
	Target

	Base    backend.Revision `json:"base"` // of the key, when the rollout began
	Author  string           `json:"author"`
	Comment string           `json:"comment,omitempty"`
	Time    time.Time        `json:"time"`

	State     RolloutState     `json:"state"`
	Reason    string           `json:"reason,omitempty"`    // why it ended
	Published backend.Revision `json:"published,omitempty"` // of the key, by its promotion

	// MaxFailures of nodes are borne; one more ends the rollout. Failures has
	// what those said that have failed so far.
	MaxFailures int               `json:"maxFailures"`
	Failures    map[string]string `json:"failures,omitempty"` // by node

	Revision backend.Revision `json:"-"` // of the record
}

// A Target says which nodes a rollout selects: of those that have all of the
// labels a share, which depends on their ids alone. Growing the share keeps
// those that are in it.
type Target struct {
	Labels  map[string]string `json:"labels,omitempty"`
	Percent float64           `json:"percent"` // above 0, up to 100; hundredths count
}

// A RolloutState is how far a rollout has come.
type RolloutState string

// The states. All but the first are final.
const (
	Trial     RolloutState = "trial"
	Promoted  RolloutState = "promoted"
	Abandoned RolloutState = "abandoned"
	Failed    RolloutState = "failed"
)

// RolloutKey is where the rollout of a configuration is recorded.
func RolloutKey(key string) string { return key + "/rollout" }

// Selects reports whether a node is on trial while the rollout lasts. A node
// without an ID never is.
func (r Rollout) Selects(n Node) bool {
	if n.ID == "" {
		return false
	}
	for name, value := range r.Labels {
		if have, ok := n.Labels[name]; !ok || have != value {
			return false
		}
	}
	const shares = 100_00 // hundredths of a per cent
	return float64(xxhash.Sum64String(r.ID+"/"+n.ID)%shares) < math.Round(r.Percent*(shares/100))
}

// Check says what is wrong with a rollout, nil if nothing is.
func (r Rollout) Check() error {
	switch {
	case r.ID == "":
		return errors.New("id: expected a ULID, got none")
	case !(r.Percent >= 0.01 && r.Percent <= 100): // NaN is neither
		return fmt.Errorf("percent: expected 0.01 to 100, got %v", r.Percent)
	case !utf8.ValidString(r.Value):
		return errors.New("value: expected UTF-8")
	case r.MaxFailures < 0:
		return fmt.Errorf("maxFailures: expected 0 or more, got %d", r.MaxFailures)
	}
	switch r.State {
	case Trial, Promoted, Abandoned, Failed:
		return nil
	}
	return fmt.Errorf("state: expected %s, %s, %s or %s, got %q", Trial, Promoted, Abandoned, Failed, r.State)
}

// Clone is a copy that shares nothing with r.
func (r Rollout) Clone() Rollout {
	r.Labels, r.Failures = maps.Clone(r.Labels), maps.Clone(r.Failures)
	return r
}

// DecodeRollout reads a rollout's record. Fields that this version does not
// know are left alone, so that newer programs can tell more; what is no rollout
// is an error that names the key.
func DecodeRollout(e backend.Entry) (Rollout, error) {
	r, err := decodeRollout(e.Value)
	if err != nil {
		return Rollout{}, fmt.Errorf("%q: %w", e.Key, err)
	}
	r.Revision = e.Revision
	return r, nil
}

func decodeRollout(value []byte) (Rollout, error) {
	r, err := lenient.Decode[Rollout](value)
	if err != nil {
		return Rollout{}, err
	}
	return r, r.Check()
}
