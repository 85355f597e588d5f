package rpc

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/seed27495941/seckill/recipe/balance"
)

// ServiceConfig is a service config, for grpc.WithDefaultServiceConfig, that
// has RPCs balanced by a policy, and has those of some services or methods
// ("shop.Stock", "shop.Stock/Take", or "*" for all) sent again when they fail
// with UNAVAILABLE: up to three times, after 50ms, 100ms and 200ms, each more or
// less by chance. (gRPC stops that by itself when most RPCs fail.)
//
// A connection that breaks fails RPCs with UNAVAILABLE which may have been
// executed: name those that may be executed twice. What was certainly not
// executed gRPC sends again anyway.
func ServiceConfig(p balance.Policy, retry ...string) string {
	type name struct {
		Service string `json:"service,omitempty"`
		Method  string `json:"method,omitempty"`
	}
	type method map[string]any
	config := map[string]any{
		"loadBalancingConfig": []any{map[string]any{BalancerName(p): struct{}{}}},
		"retryThrottling":     map[string]any{"maxTokens": 100, "tokenRatio": 0.1},
	}
	var names []name
	for _, r := range retry {
		service, method, _ := strings.Cut(strings.TrimPrefix(r, "/"), "/")
		if service == "*" {
			service = ""
		}
		names = append(names, name{service, method})
	}
	if len(names) > 0 {
		config["methodConfig"] = []any{method{
			"name": names,
			"retryPolicy": map[string]any{
				"maxAttempts":          4,
				"initialBackoff":       "0.05s",
				"maxBackoff":           "1s",
				"backoffMultiplier":    2,
				"retryableStatusCodes": []string{"UNAVAILABLE"},
			},
		}}
	}
	text, err := json.Marshal(config)
	if err != nil {
		panic(fmt.Errorf("rpc: a service config of strings and numbers: %w", err))
	}
	return string(text)
}
