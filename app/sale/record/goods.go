package record

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/seed27495941/seckill/backend"
)

// Directories of what is shown along with the sales.
const (
	GoodsDir  = "goods/"
	TopicsDir = "topics/"
)

// The limits of goods and topics.
const (
	MaxImages      = 16
	MaxImage       = 1 << 10 // bytes of a URL
	MaxTopicEvents = 200
)

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName says what is wrong with the id of goods or of a topic, which is its
// key's last part: ErrInvalid.
func CheckName(id string) error {
	if !name.MatchString(id) {
		return fmt.Errorf("%w: id %q, expected 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first",
			backend.ErrInvalid, id)
	}
	return nil
}

// Goods are what events sell, which name them by their SKU.
type Goods struct {
	SKU         string   `json:"sku"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Images      []string `json:"images,omitempty"` // http or https URLs, or paths from the root of the shop
}

// Validate says what is wrong with goods: ErrInvalid, naming the field.
func (g Goods) Validate() error {
	for _, check := range []func() string{
		func() string { return textFault("sku", g.SKU, MaxSKU) },
		func() string { return describedFault(g.Title, g.Description) },
		g.imageFault,
	} {
		if fault := check(); fault != "" {
			return fmt.Errorf("%w: goods: %s", backend.ErrInvalid, fault)
		}
	}
	return nil
}

func (g Goods) imageFault() string {
	if len(g.Images) > MaxImages {
		return fmt.Sprintf("%d images, at most %d are allowed", len(g.Images), MaxImages)
	}
	for i, image := range g.Images {
		if fault := textFault(fmt.Sprintf("images[%d]", i), image, MaxImage); fault != "" {
			return fault
		}
		if !isImage(image) {
			return fmt.Sprintf("images[%d] %q, expected an http or https URL, or a path that begins with /", i, image)
		}
	}
	return ""
}

// isImage leaves no room for script: pages show images as they are.
func isImage(s string) bool {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return false
	case u.Scheme == "" && u.Host == "":
		return strings.HasPrefix(s, "/")
	default:
		return (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	}
}

// A Topic is a page of events.
type Topic struct {
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Events      []string `json:"events"` // ids, in the order of the page
}

// Validate says what is wrong with a topic: ErrInvalid, naming the field. That
// there are such events is not asked.
func (t Topic) Validate() error {
	fault := describedFault(t.Title, t.Description)
	if fault == "" {
		fault = t.eventsFault()
	}
	if fault != "" {
		return fmt.Errorf("%w: topic: %s", backend.ErrInvalid, fault)
	}
	return nil
}

func (t Topic) eventsFault() string {
	if len(t.Events) > MaxTopicEvents {
		return fmt.Sprintf("%d events, at most %d are allowed", len(t.Events), MaxTopicEvents)
	}
	for i, e := range t.Events {
		if id, err := ulid.ParseStrict(e); err != nil || id.String() != e {
			return fmt.Sprintf("events[%d] %q, expected a ULID in capital letters", i, e)
		}
		if slices.Contains(t.Events[:i], e) {
			return fmt.Sprintf("events[%d] %s is there twice", i, e)
		}
	}
	return ""
}

func describedFault(title, description string) string {
	if fault := textFault("title", title, MaxTitle); fault != "" {
		return fault
	}
	if len(description) > MaxDescription || !utf8.ValidString(description) {
		return fmt.Sprintf("description has %d bytes, expected at most %d of UTF-8", len(description), MaxDescription)
	}
	return ""
}

// GoodsKey is the key of goods.
func GoodsKey(id string) string { return GoodsDir + id }

// TopicKey is the key of a topic.
func TopicKey(id string) string { return TopicsDir + id }

// DecodeGoods reads goods. Errors: ErrCorrupt.
func DecodeGoods(e backend.Entry) (Goods, error) { return decodeNamed[Goods](e, GoodsDir) }

// DecodeTopic reads a topic. Errors: ErrCorrupt.
func DecodeTopic(e backend.Entry) (Topic, error) { return decodeNamed[Topic](e, TopicsDir) }

// decodeNamed is decodeJSON of a record whose key must be a name under dir.
func decodeNamed[T interface{ Validate() error }](e backend.Entry, dir string) (T, error) {
	if err := CheckName(strings.TrimPrefix(e.Key, dir)); err != nil {
		var none T
		return none, fmt.Errorf("%w: %s: %w", ErrCorrupt, e.Key, err)
	}
	return decodeJSON[T](e)
}
