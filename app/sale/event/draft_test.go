package event_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/sale/event"
	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

func TestReadDraft(t *testing.T) {
	want := event.NewDraft(now)
	want.Title, want.SKU, want.Total = "Phone", "phone-1", 50
	want.Price = record.Price{Minor: 19900, Currency: "EUR"}
	want.Window.Closes = time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC)
	for name, text := range map[string]string{
		"a.json": `{"title": "Phone", "sku": "phone-1", "price": {"minor": 19900, "currency": "EUR"}, "window": {"closes": "2026-11-21T13:00:00Z"}, "total": 50}`,
		"a.yaml": "title: Phone\nsku: phone-1\nprice:\n  minor: 19900\n  currency: EUR\nwindow:\n  closes: 2026-11-21T13:00:00Z\ntotal: 50\n",
	} {
		got, err := event.ReadDraft(name, []byte(text), event.NewDraft(now))
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
		got.Status = record.StatusDraft
		require.NoError(t, got.Validate())
	}
	got, err := event.ReadDraft("a.json", []byte(`{"perUser": 0, "slots": 4}`), event.NewDraft(now))
	require.NoError(t, err)
	assert.Zero(t, got.PerUser, "given is given, to be refused")
	assert.Equal(t, 4, got.Slots)
}

func TestDraftsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"titel\": 1}":         `"x"`,
		`{"total": "50"}`:          "total",
		`{"status": "online"}`:     "leave it out",
		"title: a\ntitle: b\n":     "title",
		"titel: a\n":               "titel",
		"":                         "x",
		"- a\n":                    "x",
		"window: {opens: morning}": "x",
		"\t{":                      "x",
		"a: *b":                    "x",
	} {
		_, err := event.ReadDraft("x", []byte(text), event.NewDraft(now))
		require.ErrorIs(t, err, backend.ErrInvalid, text)
		require.ErrorContains(t, err, want)
	}
}

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Time{
		"+10m":                      time.Date(2026, 11, 21, 12, 10, 0, 123e6, time.UTC),
		"+0s":                       time.Date(2026, 11, 21, 12, 0, 0, 123e6, time.UTC),
		"2026-11-11T20:00:00+08:00": time.Date(2026, 11, 11, 12, 0, 0, 0, time.UTC),
	} {
		got, err := event.ParseTime(text, now)
		require.NoError(t, err)
		assert.True(t, got.Equal(want), "%s is %v", text, got)
	}
	for _, text := range []string{"", "+", "+10", "+-10m", "10m", "2026-11-11", "now"} {
		_, err := event.ParseTime(text, now)
		require.ErrorIs(t, err, backend.ErrInvalid, text)
	}
}
