package access

import (
	"net/http"
	"net/netip"
	"strings"
)

// A client is where a request comes from.
type client struct {
	address string // the part of it that one host has
	secure  bool   // over TLS
}

// clientOf believes a proxy on this machine, and nobody else, about where the
// request comes from and how.
func clientOf(r *http.Request) client {
	c := client{address: r.RemoteAddr, secure: r.TLS != nil}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return c
	}
	address := peer.Addr().Unmap()
	if address.IsLoopback() {
		if forwarded, err := netip.ParseAddr(last(r, "X-Forwarded-For")); err == nil {
			address = forwarded.Unmap()
		}
		c.secure = c.secure || last(r, "X-Forwarded-Proto") == "https"
	}
	c.address = host(address)
	return c
}

// last is what the nearest proxy has added to a header.
func last(r *http.Request, header string) string {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return ""
	}
	value := values[len(values)-1]
	return strings.TrimSpace(value[strings.LastIndexByte(value, ',')+1:])
}

// host is the address, of IPv6 the network: a host has all of a /64.
func host(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a.String()
	}
	return network.String()
}

// cookieName makes browsers refuse a cookie that did not come over TLS, where there
// is TLS.
func (c client) cookieName() string {
	if c.secure {
		return "__Host-seckill"
	}
	return "seckill"
}

// cookie holds a session. Lax, so that a link to the console in a message works;
// what changes anything is held to [CrossOrigin].
func (c client) cookie(value string, seconds int) http.Cookie {
	return http.Cookie{
		Name: c.cookieName(), Value: value, Path: "/", MaxAge: seconds,
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}
