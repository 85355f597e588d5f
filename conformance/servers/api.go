package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// An api asks one node over HTTP, which both servers speak, so that the drivers' client libraries are not needed to test drivers.
type api struct {
	http  *http.Client
	url   string
	token string
}

// probeTimeout bounds one request: a paused server accepts connections and never answers.
const probeTimeout = 3 * time.Second

// call sends a request, with body as JSON unless it is nil, and decodes the answer into out unless that is nil.
func (a api) call(ctx context.Context, method, path string, body, out any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+path, &sent)
	if err != nil {
		return err
	}
	if a.token != "" {
		req.Header.Set("X-Consul-Token", a.token)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &statusError{
			code: resp.StatusCode,
			text: fmt.Sprintf("%s %s: %s: %s", method, a.url+path, resp.Status, strings.TrimSpace(string(answer))),
		}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: %w in %q", method, a.url+path, err, answer)
	}
	return nil
}

type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }
