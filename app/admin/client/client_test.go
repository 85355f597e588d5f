package client

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app/web"
	"github.com/seed27495941/seckill/backend"
)

func ask(t *testing.T, method string, answer http.HandlerFunc) (Answer, error) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c, err := New(Config{Base: server.URL + "/", Token: "secret"})
	require.NoError(t, err)
	return c.Do(t.Context(), Request{Method: method, Path: Path("v1", "a/../b"), IfMatch: ETag(7)})
}

func TestWhatIsSentAndAnswered(t *testing.T) {
	a, err := ask(t, http.MethodPut, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/v1/a%2F..%2Fb", r.URL.EscapedPath())
		assert.Equal(t, "Bearer secret", r.Header.Get("Authorization"))
		assert.Equal(t, `"7"`, r.Header.Get("If-Match"))
		w.Header().Set("ETag", `"8"`)
		_, _ = w.Write([]byte(`{}`))
	})
	require.NoError(t, err)
	assert.Equal(t, `"8"`, a.ETag)
	assert.Equal(t, "*", ETag(0))
}

func TestRefusalsAreToldApart(t *testing.T) {
	_, err := ask(t, http.MethodPut, func(w http.ResponseWriter, _ *http.Request) {
		p := web.NewProblem(http.StatusUnprocessableEntity, "invalid", "not so")
		p.Faults = []web.Fault{{Where: "body.a", What: "too long"}, {What: "too late"}}
		p.With("ETag", `"9"`).Write(w)
	})
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "not so: body.a: too long; too late (invalid)", err.Error())
	assert.Equal(t, `"9"`, refusal.ETag)

	_, err = ask(t, http.MethodGet, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	require.ErrorContains(t, err, "is something else there?")

	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	_, err = ask(t, http.MethodPut, cut)
	require.ErrorIs(t, err, backend.ErrUnknown)
	_, err = ask(t, http.MethodGet, cut)
	require.ErrorContains(t, err, "does not answer")
	require.NotErrorIs(t, err, backend.ErrUnknown)
}

// A client waits for as long as the service may take: minutes, where it reads much.
func TestSlowAnswersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Base: "http://127.0.0.1:8081"})
		require.NoError(t, err)
		c.http.Transport = late(6 * time.Minute)
		_, err = c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/v1/orders", Slow: true})
		require.NoError(t, err)
		began := time.Now()
		_, err = c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/v1/events"})
		require.ErrorContains(t, err, "does not answer")
		assert.Equal(t, time.Minute, time.Since(began))
	})
}

// late answers after a time.
type late time.Duration

func (l late) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(time.Duration(l)):
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	}
}

// What is streamed is there to its end, or it is an error.
func TestStreams(t *testing.T) {
	stream := func(answer http.HandlerFunc) (string, error) {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		c, err := New(Config{Base: server.URL})
		require.NoError(t, err)
		var got strings.Builder
		err = c.Stream(t.Context(), Request{Method: http.MethodGet, Path: "/"}, "text/csv", func(from io.Reader) error {
			_, err := io.Copy(&got, from)
			return err
		})
		return got.String(), err
	}
	csv := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		_, _ = io.WriteString(w, "id\n")
		_ = http.NewResponseController(w).Flush() // else it is sent in one piece, and there is nothing to cut off
	}
	got, err := stream(func(w http.ResponseWriter, _ *http.Request) { csv(w); csv(w) })
	require.NoError(t, err)
	assert.Equal(t, "id\nid\n", got)

	got, err = stream(func(w http.ResponseWriter, _ *http.Request) { csv(w); panic(http.ErrAbortHandler) })
	assert.Equal(t, "id\n", got)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "ends the answer too early")

	got, err = stream(func(w http.ResponseWriter, _ *http.Request) {
		web.NewProblem(http.StatusConflict, "no_orders", "none").Write(w)
	})
	assert.Empty(t, got)
	var refusal *Error
	require.ErrorAs(t, err, &refusal)
	assert.Equal(t, "no_orders", refusal.Code)

	got, err = stream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<p>log in")
	})
	assert.Empty(t, got)
	require.ErrorContains(t, err, `with "text/html", which the admin service would not`)
}

func TestStrangeCertificatesAreNotTalkedTo(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	c, err := New(Config{Base: server.URL})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), Request{Method: http.MethodPut, Path: "/"})
	require.ErrorIs(t, err, backend.ErrUnavailable)
	_, err = New(Config{Base: server.URL, CA: "nowhere.pem"})
	require.ErrorIs(t, err, backend.ErrInvalid)
}

func TestBase(t *testing.T) {
	for text, want := range map[string]string{
		"http://127.0.0.1:8081/": "http://127.0.0.1:8081", "http://[::1]:8081": "http://[::1]:8081", "https://a.example": "https://a.example",
		"a.example:8081": "", "http://a.example": "", "https://u@a.example": "", "https://a.example/x": "", "ftp://a": "", "": "",
	} {
		base, err := Base(text)
		assert.Equal(t, want, base, text)
		assert.Equal(t, want == "", err != nil, text)
	}
}

func TestSessions(t *testing.T) {
	s := Sessions{filepath.Join(t.TempDir(), "deep", "sessions.json")}
	none, err := s.Get("a")
	require.NoError(t, err)
	assert.Empty(t, none)
	kept := Session{"bob", "seckill", "x", time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	require.NoError(t, s.Set("a", kept))
	require.NoError(t, s.Set("b", Session{User: "past", Expires: time.Now().Add(-time.Second)}))
	got, err := s.Get("a")
	require.NoError(t, err)
	assert.Equal(t, kept, got)
	got, err = s.Get("b")
	require.NoError(t, err)
	assert.Empty(t, got, "it has expired")
	info, err := os.Stat(s.File)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, s.Set("a", Session{}))
	got, err = s.Get("a")
	require.NoError(t, err)
	assert.Empty(t, got)
	require.NoError(t, os.WriteFile(s.File, []byte("null"), 0o600))
	_, err = s.Get("a")
	require.ErrorContains(t, err, "expected sessions")
}
