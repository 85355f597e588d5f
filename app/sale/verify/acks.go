package verify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/app/sale/record"
	"github.com/seed27495941/seckill/backend"
)

// Acknowledgements are the orders that buyers were told to have, by event.
type Acknowledgements map[ulid.ULID][]ulid.ULID

const (
	maxLine = 64 << 10 // bytes
	maxBad  = 10       // lines that are named
)

// ReadAcks reads the public IDs of orders, one on each line: by itself, or as the
// field id of a JSON object, as buyers are answered and orders are exported. Blank
// lines are none. Errors: ErrInvalid, naming the lines; those of r.
func ReadAcks(r io.Reader) (Acknowledgements, error) {
	acks := Acknowledgements{}
	var bad []error
	number := 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() && len(bad) < maxBad {
		number++
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		event, order, err := parseAck(line)
		if err != nil {
			bad = append(bad, fmt.Errorf("line %d: %w", number, err))
			continue
		}
		acks[event] = append(acks[event], order)
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		bad = append(bad, fmt.Errorf("%w: line %d has more than %d bytes", backend.ErrInvalid, number+1, maxLine))
	} else if err != nil {
		return nil, err
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	return acks, nil
}

func parseAck(line string) (event, order ulid.ULID, err error) {
	id := line
	if strings.HasPrefix(line, "{") {
		var object struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			return event, order, fmt.Errorf("%w: expected an object with the field id: %w", backend.ErrInvalid, err)
		}
		id = object.ID
	}
	return record.ParsePublicID(id)
}
