package pubsub

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// digits is how long a message's number is in its key, with zeros in front:
// keys of one publisher sort as they were published.
const digits = 16

// A stream is what one publisher publishes on one topic: its messages are
// numbered from 1, without a gap.
type stream struct {
	topic     string
	publisher string
}

// key is where the message of a stream with a number is.
func (s stream) key(dir string, number uint64) string {
	return fmt.Sprintf("%s%s/%s-%0*d", dir, s.topic, s.publisher, digits, number)
}

var errForeign = errors.New("the key is no message's, expected <topic>/<ULID>-<number>")

// parse is the inverse of stream.key. The last segment alone makes a key that
// of a message, so a topic may be any path, also one that contains others.
func parse(dir, key string) (s stream, number uint64, err error) {
	path, ok := strings.CutPrefix(key, dir)
	i := strings.LastIndexByte(path, '/')
	if !ok || i < 1 {
		return stream{}, 0, errForeign
	}
	topic, last := path[:i], path[i+1:]
	publisher, text, ok := strings.Cut(last, "-")
	if !ok || len(text) != digits {
		return stream{}, 0, errForeign
	}
	if id, err := ulid.ParseStrict(publisher); err != nil || id.String() != publisher {
		return stream{}, 0, errForeign
	}
	number, err = strconv.ParseUint(text, 10, 64)
	if err != nil || number == 0 {
		return stream{}, 0, errForeign
	}
	return stream{topic: topic, publisher: publisher}, number, nil
}

// checkDir: without the slash a watch would cover more than the directory.
func checkDir(dir string) error {
	if err := backend.CheckKey(dir); err != nil {
		return err
	}
	if !strings.HasSuffix(dir, "/") {
		return fmt.Errorf("%w: directory %q: expected a slash at the end", backend.ErrInvalid, dir)
	}
	return nil
}
