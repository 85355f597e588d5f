package settings_test

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

func defaults(t *testing.T) settings.Cluster {
	t.Helper()
	s, err := settings.Load(settings.Sources{})
	require.NoError(t, err)
	return s.Config
}

func decode(t *testing.T, text string) (settings.Cluster, error) {
	t.Helper()
	return defaults(t).Decode(backend.Entry{Key: settings.ConfigKey, Value: []byte(text), Revision: 1})
}

func TestClusterIsTheCoursesJSON(t *testing.T) {
	const text = `{"logLevel":"info","rateLimit":{"middle":100000,"low":10000},"circuitBreaker":{"cpu":80,"latency":1000}}`
	encoded, err := json.Marshal(defaults(t))
	require.NoError(t, err)
	assert.Equal(t, text, string(encoded), "the order of the fields included") //nolint:testifylint // JSONEq would not see the order

	c, err := decode(t, text)
	require.NoError(t, err)
	assert.Equal(t, defaults(t), c)
	require.NoError(t, c.Validate())
}

func TestFieldsLeftOutAreAsInTheSettings(t *testing.T) {
	c, err := decode(t, `{"logLevel":"debug","rateLimit":{"low":5}}`)
	require.NoError(t, err)
	want := defaults(t)
	want.LogLevel, want.RateLimit.Low = "debug", 5
	assert.Equal(t, want, c)
	assert.Equal(t, slog.LevelDebug, c.Level())
}

// The course's own sample lacks a comma and has others too many.
func TestBadConfigsAreRefusedWithThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"{\n  \"logLevel\": \"info\"\n  \"rateLimit\": {}\n}":  `"config": line 3, column 3: invalid character '"' after object key:value pair`,
		"{\n  \"rateLimit\": {\"middle\": 1, \"low\": 2,},\n}": `"config": line 2, column 39: invalid character '}' looking for beginning of object key string`,
		`{"rateLimt":{"low":1}}`:                               `"config": line 1, column 2: unknown field "rateLimt"`,
		`{"rateLimit":{"low":"1"}}`:                            `"config": line 1, column 21: rateLimit.low: got string, expected int`,
		`null`:                                                 `"config": null, expected a settings.Cluster`,
		``:                                                     `"config": no text, expected a JSON value`,
	} {
		c, err := decode(t, text)
		require.EqualError(t, err, want, text)
		assert.Zero(t, c)
	}
}

func TestValidateNamesEachField(t *testing.T) {
	c, err := decode(t, `{"logLevel":"loud","rateLimit":{"middle":0,"low":-1},"circuitBreaker":{"cpu":101,"latency":0}}`)
	require.NoError(t, err)
	require.EqualError(t, c.Validate(), `logLevel: expected one of debug, info, warn, error, got "loud"; `+
		`rateLimit.middle: expected 1 or more requests per second, got 0; `+
		`rateLimit.low: expected 1 or more requests per second, got -1; `+
		`circuitBreaker.cpu: expected 1 to 100 per cent, got 101; `+
		`circuitBreaker.latency: expected 1 or more milliseconds, got 0`)
}
