package settings_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/seed27495941/seckill/app/settings"
)

func TestFaultsHaveTheirPlaces(t *testing.T) {
	c := settings.Defaults().Config
	c.LogLevel = "info"
	for text, want := range map[string][]settings.ConfigFault{
		`{"logLevel":"warn"}`: nil,
		"{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}":                        {{Line: 3, Column: 3, What: "invalid character '\"' after object key:value pair"}},
		"{\n \"ratelimit\": {\"low\": 1, \"low\": 2}}":                               {{Line: 2, Column: 26, What: `"low" is there twice`}},
		"{\n  \"rateLimits\": {}}":                                                   {{Line: 2, Column: 3, What: `unknown field "rateLimits"`}},
		"{\"circuitBreaker\":{\"latency\":5,\n\"cpu\":200},\n\"pools\":{\"low\":1}}": {{Line: 3, Column: 10, What: `unknown field "low"`}},
		"{\"circuitBreaker\":{\"latency\":5,\n\"cpu\":200},\n \"rateLimit\":{\"middle\":1,\"low\": 0}}": {
			{Line: 3, Column: 26, Field: "rateLimit.low", What: "expected 1 to 1000000000 requests per second, got 0"},
			{Line: 2, Column: 1, Field: "circuitBreaker.cpu", What: "expected 1 to 100 per cent, got 200"},
		},
		`null`: {{What: `"config": null, expected a settings.Cluster`}},
	} {
		assert.Equal(t, want, c.Faults([]byte(text)), text)
	}
	c.RateLimit.Low = 0
	assert.Equal(t, []settings.ConfigFault{{Field: "rateLimit.low", What: "expected 1 to 1000000000 requests per second, got 0"}}, c.Faults([]byte("{}")),
		"what is not in the text has no place")
}
