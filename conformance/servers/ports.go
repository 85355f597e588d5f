package servers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range the kernel gives to outgoing connections (from 32768 on Linux, 49152 elsewhere). A port of that
// range could become the near end of somebody's connection while its server is down, and the server could not come back.
const (
	firstPort = 20000
	lastPort  = 32000
)

// freePorts finds n ports of the loopback interface on which nobody listened a moment ago.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	seen := make(map[int]bool)
	for tries := 0; len(ports) < n; tries++ {
		if tries == 1000 {
			return nil, fmt.Errorf("no %d free ports between %d and %d", n, firstPort, lastPort)
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		if !seen[port] && portFree(port) {
			ports = append(ports, port)
		}
		seen[port] = true
	}
	return ports, nil
}

// portFree tells whether a server could listen on the port now, with TCP and, as Consul's gossip does, UDP.
func portFree(port int) bool {
	l, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	l.Close()
	p, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	p.Close()
	return true
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
