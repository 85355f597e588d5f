package settings

import (
	"fmt"
	"net"
	"net/netip"
)

// Reachable is the address that other nodes are told, for a listener that has
// got the address bound: as advertised, or else where it listens. An address
// that stands for all of the machine's is no place to go to, so it has to be
// advertised, with the flag that the error names.
func (l Listener) Reachable(bound net.Addr, flag string) (string, error) {
	if l.Advertise != "" {
		return l.Advertise, nil
	}
	host, _, err := net.SplitHostPort(l.Bind)
	if err != nil {
		return "", err
	}
	if unspecified(host) {
		return "", fmt.Errorf("%s stands for every address of this machine, so other nodes can't be told to go there: say with %s where they reach this one", l.Bind, flag)
	}
	_, port, err := net.SplitHostPort(bound.String())
	return net.JoinHostPort(host, port), err
}

// WithPort is an address, host:port, with another port.
func WithPort(address, port string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(host, port)
}

// IsLoopback reports whether an address, host:port, is this machine's own, so that
// no other machine gets anywhere with it.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// unspecified reports whether host stands for every address of the machine, so
// that nobody can be told to go there.
func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.Unmap().IsUnspecified()
}
