// Package settings holds what is fixed when a process starts, and the type of
// what is not: the cluster config, which all nodes follow while they run.
//
// Settings come from four layers, a later one winning over an earlier one:
// defaults, a file (TOML or YAML, by its extension), the environment, flags.
// Nothing is ignored: an unknown key, a value of the wrong kind and an option
// that the chosen backend does not have are refused, with the place, the key
// and what was expected. Only the environment may hold names that are not
// ours (Kubernetes makes up SECKILL_PORT and the like for a service called
// seckill); one that looks like a mistyped setting is warned about.
//
// The file testdata/seckill.toml has every key.
package settings

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed27495941/seckill/backend/credential"
)

// The backends there are.
const (
	Etcd   = "etcd"
	Consul = "consul"
	Memory = "memory" // for trying things out inside one process
)

// Settings is what a process is started with.
type Settings struct {
	Backend string
	Store   Store
	API     Listener
	Admin   Listener
	Ops     Listener
	RPC     RPC
	Node    Node
	Log     Log
	Trace   Trace

	Identity Identity
	Payment  Payment

	// DrainTimeout bounds how long requests in flight may take when the
	// process is told to stop.
	DrainTimeout time.Duration

	// PIDFile is where the process can be found, by the one that is to take its
	// place. Empty: nowhere.
	PIDFile string

	// Config is what holds while no cluster config is published, and for the
	// fields that a published one leaves out.
	Config Cluster

	// Warnings are for the log: what was found and is probably a mistake.
	Warnings []string
}

// Store tells how to reach the store. Which options there are depends on the
// backend.
type Store struct {
	Endpoints    []string // empty: where the backend listens by default
	Root         string   // prefix of all keys
	User         string
	Password     credential.Secret
	PasswordFile string
	Token        credential.Secret
	TokenFile    string
	Datacenter   string
	TLS          credential.TLS

	DialTimeout    time.Duration // 0: what the backend thinks best
	RequestTimeout time.Duration // likewise
}

// A Listener is where a service listens, and where others reach it.
type Listener struct {
	Bind      string
	Advertise string // empty: the address it listens on
}

// RPC is where nodes reach each other.
type RPC struct {
	Listener

	// TLS makes both ends show certificates of its CA. Without it whoever reaches
	// the address is believed to be a node.
	TLS credential.TLS
}

// Identity tells who buyers are.
type Identity struct {
	// KeysFile is a JWK Set (RFC 7517) with the keys that tokens are signed with.
	KeysFile string
	Issuer   string // of tokens; empty: any
	Audience string // that tokens must be for; empty: any
}

// Payment is about the payment service's callbacks.
type Payment struct {
	// SecretFile has the secrets that callbacks are signed with, one a line.
	// Empty: no payments are taken.
	SecretFile string
}

// Node is about a node's place in the cluster.
type Node struct {
	// TTL is how long a node that went silent stays listed. The store raises
	// it to its minimum.
	TTL time.Duration
}

// Log is about the process's own log.
type Log struct {
	Level  string // what the cluster config's logLevel falls back to
	Format string
}

// Trace is about following requests through processes.
type Trace struct {
	// Endpoint is the collector that spans go to, as a URL. Empty: there are
	// none.
	Endpoint string
}

// Defaults are the settings of a process that is told nothing.
func Defaults() Settings {
	return Settings{
		Backend:      Etcd,
		Store:        Store{Root: "seckill/"},
		API:          Listener{Bind: "127.0.0.1:8080"},
		Admin:        Listener{Bind: "127.0.0.1:8081"},
		Ops:          Listener{Bind: "127.0.0.1:8090"},
		RPC:          RPC{Listener: Listener{Bind: "127.0.0.1:8082"}},
		Node:         Node{TTL: 6 * time.Second},
		Log:          Log{Level: "info", Format: "text"},
		DrainTimeout: 10 * time.Second,
		Config: Cluster{
			RateLimit:      RateLimit{Middle: 100_000, Low: 10_000},
			CircuitBreaker: CircuitBreaker{CPU: 80, Latency: 1000},
		},
	}
}

// Sources says where settings come from besides the defaults.
type Sources struct {
	File    string   // "" for none
	Environ []string // as os.Environ returns it
	Flags   []Flag
}

// A Flag is a setting given on the command line.
type Flag struct {
	Name  string // with its dashes
	Key   string // as in a file: store.endpoints
	Value any
}

// Load puts the layers together and checks the result.
func Load(from Sources) (Settings, error) {
	s := Defaults()
	layers, err := from.layers()
	if err != nil {
		return Settings{}, err
	}
	given := map[string]string{} // key: where it was given last
	for _, layer := range layers {
		if err := layer.apply(&s, given); err != nil {
			return Settings{}, err
		}
	}
	s.Warnings = suspicious(from.Environ)
	s.Config.LogLevel = s.Log.Level
	err = s.check(given)
	return s, err
}

// check refuses what no single value shows.
func (s *Settings) check(given map[string]string) error {
	for _, k := range known() {
		if where, ok := given[k.key]; ok && k.backends != nil && !slices.Contains(k.backends, s.Backend) {
			return fmt.Errorf("%s: the backend %s has no such option", where, s.Backend)
		}
	}
	if err := s.Config.Validate(); err != nil {
		return fmt.Errorf("%sconfig: %w", placeOfConfig(given), err)
	}
	return nil
}

// placeOfConfig names the source, with a colon, that gave a default of the
// cluster config; "" if none did.
func placeOfConfig(given map[string]string) string {
	for _, k := range known() {
		if where, ok := given[k.key]; ok && strings.HasPrefix(k.key, "config.") {
			return strings.TrimSuffix(where, k.key)
		}
	}
	return ""
}
