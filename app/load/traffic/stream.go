package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// reconnect is how long a browser waits before it comes back, as the service tells it.
	reconnect = 3 * time.Second

	// silence is longer than a stream is ever silent: a comment comes every 15 seconds.
	silence = 30 * time.Second
)

// follow follows an event as a browser's EventSource does, until ctx ends: when a stream ends it comes
// back, and an answer that is no stream it would take for final.
func follow(ctx context.Context, cfg Config, t *tally) {
	for {
		if err := read(ctx, cfg, t); err != nil && ctx.Err() == nil {
			t.fail("stream: %v", err)
		}
		if !wait(ctx, time.Now().Add(reconnect)) {
			return
		}
	}
}

// read reads one stream to its end.
func read(ctx context.Context, cfg Config, t *tally) error {
	c, err := dial(ctx, cfg.Address, cfg.Patience)
	if err != nil {
		return err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.close)()
	resp, err := c.begin(ctx, http.MethodGet, "/v1/events/"+cfg.Event+"/stream", "", "", false)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "text/event-stream" {
		return fmt.Errorf("answered %d %s", resp.StatusCode, kind)
	}
	return c.events(resp, t)
}

// events counts a stream's events. The first one has to be the state.
func (c *connection) events(resp *http.Response, t *tally) error {
	first := "state"
	lines := bufio.NewScanner(resp.Body)
	for c.SetDeadline(time.Now().Add(silence)) == nil && lines.Scan() {
		name, isEvent := strings.CutPrefix(lines.Text(), "event: ")
		switch {
		case !isEvent:
			continue
		case first != "" && name != first:
			return fmt.Errorf("a stream begins with %q, expected %q", name, first)
		}
		t.streamed(first != "")
		first = ""
	}
	if lines.Err() == nil && first != "" {
		return errors.New("a stream ended that had told nothing")
	}
	return lines.Err()
}
