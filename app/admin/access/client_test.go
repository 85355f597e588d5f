package access

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestClients(t *testing.T) {
	for _, test := range []struct {
		remote string
		header http.Header
		want   client
	}{
		{"192.0.2.1:5", nil, client{"192.0.2.1", false}},
		{"[2001:db8:1:2:3:4:5:6]:5", nil, client{"2001:db8:1:2::/64", false}},
		{"[fe80::1%eth0]:5", nil, client{"fe80::/64", false}},
		{"[::ffff:192.0.2.1]:5", nil, client{"192.0.2.1", false}},
		{"@", nil, client{"@", false}},
		{"127.0.0.1:5", nil, client{"127.0.0.1", false}},
		{"127.0.0.1:5", http.Header{"X-Forwarded-For": {"198.51.100.1", "198.51.100.2, 192.0.2.1"}, "X-Forwarded-Proto": {"https"}}, client{"192.0.2.1", true}},
		{"[::1]:5", http.Header{"X-Forwarded-For": {"2001:db8::1"}, "X-Forwarded-Proto": {"https, http"}}, client{"2001:db8::/64", false}},
		{"127.0.0.1:5", http.Header{"X-Forwarded-For": {"junk"}}, client{"127.0.0.1", false}},
		{"192.0.2.1:5", http.Header{"X-Forwarded-For": {"198.51.100.1"}, "X-Forwarded-Proto": {"https"}}, client{"192.0.2.1", false}},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = test.remote
		r.Header = test.header
		assert.Equal(t, test.want, clientOf(r), test)
	}
}
