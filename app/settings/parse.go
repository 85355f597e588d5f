package settings

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/credential"
)

// A kind is what a value has to be. Values come from files with the types their
// language has, and from the environment as strings.
type kind[T any] struct {
	expected string
	parse    func(value any) (T, bool)
	hidden   bool // the value is not shown, not even when it is wrong
}

// A binding is where in the settings a value belongs.
type binding struct {
	// set puts a value there, or says what is wrong with it.
	set func(s *Settings, value any) error

	// differ says how the value of b is another than that of a, "" if it is not.
	differ func(a, b *Settings) string
}

func bind[T any](k kind[T], field func(*Settings) *T) binding {
	set := func(s *Settings, value any) error {
		parsed, ok := k.parse(value)
		switch {
		case ok:
			*field(s) = parsed
			return nil
		case k.hidden:
			return fmt.Errorf("expected %s", k.expected)
		}
		return fmt.Errorf("expected %s, got %s", k.expected, show(value))
	}
	differ := func(a, b *Settings) string {
		old, now := *field(a), *field(b)
		switch {
		case reflect.DeepEqual(old, now):
			return ""
		case k.hidden:
			return "another value, which is not shown"
		}
		return show(old) + " → " + show(now)
	}
	return binding{set, differ}
}

// show describes a value, maybe one of the wrong kind; of what is not simple, the
// kind only.
func show(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return strconv.Quote(v)
	case bool, int, int64, float64, time.Duration:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	}
	return "something else"
}

var (
	text = kind[string]{expected: "a text", parse: func(v any) (string, bool) {
		s, ok := v.(string)
		return s, ok
	}}

	secret = kind[credential.Secret]{expected: "a text", hidden: true, parse: func(v any) (credential.Secret, bool) {
		s, ok := v.(string)
		return credential.Secret(s), ok
	}}

	number = kind[int]{expected: "a whole number", parse: func(v any) (int, bool) {
		n, err := strconv.Atoi(fmt.Sprint(v))
		return n, err == nil
	}}

	positive = kind[int]{expected: "a whole number above zero", parse: func(v any) (int, bool) {
		n, err := strconv.Atoi(fmt.Sprint(v))
		return n, err == nil && n > 0
	}}

	boolean = kind[bool]{expected: "true or false", parse: func(v any) (bool, bool) {
		b, err := strconv.ParseBool(fmt.Sprint(v))
		return b, err == nil
	}}

	duration = kind[time.Duration]{expected: "a duration above zero, such as 5s or 500ms", parse: func(v any) (time.Duration, bool) {
		d, err := time.ParseDuration(fmt.Sprint(v))
		return d, err == nil && d > 0
	}}

	// People put passwords into addresses.
	endpoints = kind[[]string]{expected: "a list of host:port or URLs", hidden: true, parse: parseList}

	root = kind[string]{expected: "a prefix of keys that ends in a slash and does not start with one, such as seckill/", parse: func(v any) (string, bool) {
		s, ok := v.(string)
		return s, ok && backend.CheckPrefix(s) == nil && (s == "" || strings.HasSuffix(s, "/"))
	}}

	bindAddress = addressKind("host:port to listen on, such as 127.0.0.1:8080", func(string, string) bool { return true })

	reachable = addressKind("host:port where other nodes reach this one, such as 10.10.11.12:8080", func(host, port string) bool {
		return !unspecified(host) && port != "0"
	})

	// People put passwords into this one too.
	collector = kind[string]{
		expected: "host:port of an OpenTelemetry collector, such as 127.0.0.1:4317, or that as an http or https URL",
		parse:    parseCollector,
		hidden:   true,
	}
)

func oneOf(names ...string) kind[string] {
	return kind[string]{expected: "one of " + strings.Join(names, ", "), parse: func(v any) (string, bool) {
		s, ok := v.(string)
		return s, ok && slices.Contains(names, s)
	}}
}

func addressKind(expected string, good func(host, port string) bool) kind[string] {
	return kind[string]{expected: expected, parse: func(v any) (string, bool) {
		s, ok := v.(string)
		if !ok {
			return "", false
		}
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", false
		}
		_, err = strconv.ParseUint(port, 10, 16)
		return s, err == nil && good(host, port)
	}}
}

// parseCollector makes a URL of what is not one. What is not encrypted needs no
// scheme, as with the store's endpoints.
func parseCollector(value any) (string, bool) {
	s, ok := value.(string)
	if !ok {
		return "", false
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return s, err == nil && port > 0 && s == u.Scheme+"://"+u.Host // and nothing else
}

// parseList takes a list of texts, or one text with commas in it.
func parseList(value any) ([]string, bool) {
	var list []string
	switch v := value.(type) {
	case string:
		list = strings.Split(v, ",")
	case []string:
		list = v
	case []any:
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			list = append(list, s)
		}
	}
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, len(list) > 0 && !slices.Contains(list, "")
}
