package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/seed27495941/seckill/backend"
)

// ConfigKey is where the cluster config is published.
const ConfigKey = "config"

// Cluster is the cluster config: what all nodes follow while they run.
//
// A published one may leave fields out; those are as each node's own settings
// say. It may not have fields that a node does not know: a mistyped limit would
// otherwise be no limit. So nodes are upgraded before a new field is published.
type Cluster struct {
	LogLevel       string         `json:"logLevel"`
	RateLimit      RateLimit      `json:"rateLimit"`
	CircuitBreaker CircuitBreaker `json:"circuitBreaker"`
}

// RateLimit is in requests per second.
type RateLimit struct {
	Middle int `json:"middle"`
	Low    int `json:"low"`
}

// CircuitBreaker says when a node stops taking requests.
type CircuitBreaker struct {
	CPU     int `json:"cpu"`     // per cent
	Latency int `json:"latency"` // milliseconds
}

// Decode reads a published config; fields it leaves out are as in c. Nothing is
// half-decoded: on error the result is the zero value.
func (c Cluster) Decode(e backend.Entry) (Cluster, error) {
	if _, err := backend.DecodeJSON[Cluster](e); err != nil {
		return Cluster{}, err
	}
	if err := json.Unmarshal(e.Value, &c); err != nil {
		return Cluster{}, err
	}
	return c, nil
}

// Validate names every field that can't be used, and what was expected.
func (c Cluster) Validate() error {
	var faults []string
	expect := func(ok bool, field, expected string, got any) {
		if !ok {
			faults = append(faults, fmt.Sprintf("%s: expected %s, got %v", field, expected, got))
		}
	}
	expect(slices.Contains(logLevels(), c.LogLevel), "logLevel", "one of "+strings.Join(logLevels(), ", "), fmt.Sprintf("%q", c.LogLevel))
	expect(c.RateLimit.Middle > 0, "rateLimit.middle", "1 or more requests per second", c.RateLimit.Middle)
	expect(c.RateLimit.Low > 0, "rateLimit.low", "1 or more requests per second", c.RateLimit.Low)
	expect(c.CircuitBreaker.CPU >= 1 && c.CircuitBreaker.CPU <= 100, "circuitBreaker.cpu", "1 to 100 per cent", c.CircuitBreaker.CPU)
	expect(c.CircuitBreaker.Latency > 0, "circuitBreaker.latency", "1 or more milliseconds", c.CircuitBreaker.Latency)
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "; "))
}

// Level is LogLevel as log/slog has it.
func (c Cluster) Level() slog.Level {
	var level slog.Level
	// Validate has seen the name.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	return level
}

func logLevels() []string { return []string{"debug", "info", "warn", "error"} }
