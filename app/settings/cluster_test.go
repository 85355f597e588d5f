package settings_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/gate/limit"
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
		`rateLimit.middle: expected 1 to 1000000000 requests per second, got 0; `+
		`rateLimit.low: expected 1 to 1000000000 requests per second, got -1; `+
		`circuitBreaker.cpu: expected 1 to 100 per cent, got 101; `+
		`circuitBreaker.latency: expected 1 to 3600000 milliseconds, got 0`)

	c, err = decode(t, `{"rateLimit":{"perUser":{"requests":0,"seconds":90000,"burst":0}},"degrade":{"events":{"one":{}}},`+
		`"payment":{"deadline":-1},"pools":{"streams":0,"waiting":70000}}`)
	require.NoError(t, err)
	require.EqualError(t, c.Validate(), `rateLimit.perUser.requests: expected 1 to 1000000000 requests, got 0; `+
		`rateLimit.perUser.seconds: expected 1 to 86400 seconds, got 90000; `+
		`rateLimit.perUser.burst: expected 1 to 100000 requests, got 0; `+
		`degrade.events: expected ids of events, got "one"; `+
		`payment.deadline: expected 1 to 2592000 seconds, or 0 for what each event says, got -1; `+
		`pools.streams: expected 1 to 1000000 streams, got 0; `+
		`pools.waiting: expected 1 to 65536 requests, got 70000`)
}

// Every limit that is accepted can be kept.
func TestBurstsFitIntoBuckets(t *testing.T) {
	for seconds, most := range map[int]int{1: 1_000_000_000, 60: 150_000_000, 86400: 104_166} {
		c := defaults(t)
		c.RateLimit.PerUser = settings.UserRate{Requests: 1, Seconds: seconds, Burst: most}
		require.NoError(t, c.Validate())
		c.RateLimit.PerUser.Burst++
		require.ErrorContains(t, c.Validate(), "rateLimit.perUser.burst")
		require.NoError(t, limit.Limit{Tokens: 1, Per: time.Duration(seconds) * time.Second, Burst: int64(most)}.Validate())
	}
}

// What is decoded replaces the events that were switched before, and leaves theirs alone
// that others still hold.
func TestSwitchesOfEventsAreReplaced(t *testing.T) {
	const one, other = "01KAGR0Q0G0000000000000001", "01KAGR0Q0G0000000000000002"
	first, err := decode(t, `{"degrade":{"cached":true,"events":{"`+one+`":{"refuseOrders":true}}}}`)
	require.NoError(t, err)
	require.NoError(t, first.Validate())
	assert.Equal(t, settings.Switches{RefuseOrders: true, Cached: true}, first.Degrade.Of(one))
	assert.Equal(t, settings.Switches{Cached: true}, first.Degrade.Of(other))

	next := func(text string) settings.Cluster {
		c, err := first.Decode(backend.Entry{Key: settings.ConfigKey, Value: []byte(text)})
		require.NoError(t, err)
		return c
	}
	assert.Equal(t, first, next(`{"degrade":{"cached":true}}`))
	second := next(`{"degrade":{"events":{"` + other + `":{"readOnly":true}}}}`)
	assert.Equal(t, settings.Switches{ReadOnly: true, Cached: true}, second.Degrade.Of(other))
	assert.Equal(t, settings.Switches{Cached: true}, second.Degrade.Of(one))
	assert.Len(t, first.Degrade.Events, 1)
	assert.Empty(t, next(`{"degrade":{"events":{}}}`).Degrade.Events)
}
