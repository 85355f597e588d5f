// Package settings holds what is fixed when a process starts, and the type of
// what is not: the cluster config, which all nodes follow while they run. What a
// settings file says of that counts while the process runs too: see [File].
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

	"github.com/seed27495941/seckill/app/follow"
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
	Admin   Admin
	Ops     Listener
	RPC     RPC
	Node    Node
	Log     Log
	Trace   Trace
	Reload  Reload

	Identity  Identity
	Payment   Payment
	Blacklist Blacklist
	Jobs      Jobs

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

// Admin is where operators are served.
type Admin struct {
	Listener

	// TLS is the server's certificate: CertFile and KeyFile, or neither. What other
	// machines can reach has one.
	TLS credential.TLS
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

// Blacklist is about buyers that are refused.
type Blacklist struct {
	// File has their ids, one a line. Empty: nobody is on the list.
	File string

	// Mode and Interval say how changes of the file are found: see package follow.
	Mode     string
	Interval time.Duration
}

// Jobs are what admins do by themselves.
type Jobs struct {
	// ArchiveDir is where sales that are over are put, before they are deleted from
	// the store. Empty: they stay there.
	ArchiveDir   string
	ArchiveAfter time.Duration // how long they stay anyway

	AuditKeep time.Duration // records of the audit log are deleted when they are older
	AuditMax  int           // or when there are so many newer ones
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

// Reload is about the settings file itself, while the process runs.
type Reload struct {
	Mode     string        // a follow.Mode
	Interval time.Duration // between two looks at the file
}

// Defaults are the settings of a process that is told nothing.
func Defaults() Settings {
	return Settings{
		Backend:      Etcd,
		Store:        Store{Root: "seckill/"},
		API:          Listener{Bind: "127.0.0.1:8080"},
		Admin:        Admin{Listener: Listener{Bind: "127.0.0.1:8081"}},
		Ops:          Listener{Bind: "127.0.0.1:8090"},
		RPC:          RPC{Listener: Listener{Bind: "127.0.0.1:8082"}},
		Blacklist:    Blacklist{Mode: "events", Interval: time.Minute},
		Node:         Node{TTL: 6 * time.Second},
		Log:          Log{Level: "info", Format: "text"},
		Jobs:         Jobs{ArchiveAfter: 24 * time.Hour, AuditKeep: 90 * 24 * time.Hour, AuditMax: 100_000},
		Reload:       Reload{Mode: string(follow.Events), Interval: follow.DefaultInterval},
		DrainTimeout: 10 * time.Second,
		Config: Cluster{
			RateLimit:      RateLimit{Middle: 100_000, Low: 10_000, PerUser: UserRate{Requests: 20, Seconds: 1, Burst: 40}},
			CircuitBreaker: CircuitBreaker{CPU: 80, Latency: 1000},
			Pools:          Pools{Streams: 10_000, Waiting: 4096},
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
	loaded, err := Open(from)
	return loaded.Settings, err
}

// Loaded are settings that know where they came from, so that their file can be
// followed: see [NewFile].
type Loaded struct {
	Settings Settings

	from      Sources
	stamp     follow.Stamp // of the file, not later than it was read
	outranked []string     // hot keys of the file that count for nothing, and what does
}

// Open loads settings as [Load] does.
func Open(from Sources) (Loaded, error) {
	l := Loaded{Settings: Defaults(), from: from, stamp: follow.Look(from.File)}
	layers, err := from.layers()
	if err != nil {
		return Loaded{}, err
	}
	s, given := &l.Settings, map[string]string{} // key: where it was given last
	for _, layer := range layers {
		if err := layer.apply(s, given); err != nil {
			return Loaded{}, err
		}
	}
	s.Warnings = suspicious(from.Environ)
	s.Config.LogLevel = s.Log.Level
	if err := s.check(given); err != nil {
		return Loaded{}, err
	}
	l.outranked = layers[0].outranked(given)
	return l, nil
}

// check refuses what no single value shows.
func (s *Settings) check(given map[string]string) error {
	for _, k := range known() {
		if where, ok := given[k.key]; ok && k.backends != nil && !slices.Contains(k.backends, s.Backend) {
			return fmt.Errorf("%s: the backend %s has no such option", where, s.Backend)
		}
	}
	if err := s.Config.Validate(); err != nil {
		return fmt.Errorf("%sconfig: %w", placeOfConfig(given, err), err)
	}
	return s.Admin.check(given)
}

// check keeps passwords off the network in clear.
func (a Admin) check(given map[string]string) error {
	switch {
	case a.TLS.CertFile != "" && a.TLS.KeyFile == "":
		return fmt.Errorf("%s: a certificate needs its key, give admin.tls.key too", given["admin.tls.cert"])
	case a.TLS.KeyFile != "" && a.TLS.CertFile == "":
		return fmt.Errorf("%s: a key needs its certificate, give admin.tls.cert too", given["admin.tls.key"])
	case !IsLoopback(a.Bind) && !a.TLS.Enabled():
		return fmt.Errorf("%s: other machines reach %s, and passwords would go there in clear: give a certificate with admin.tls.cert and admin.tls.key, or stay on loopback, such as 127.0.0.1:8081, where a proxy on this machine that terminates TLS reaches it",
			given["admin.bind"], a.Bind)
	}
	return nil
}

// placeOfConfig names the source, with a colon, that gave the default of the cluster
// config which an error of Validate begins with; "" if none did.
func placeOfConfig(given map[string]string, err error) string {
	field, _, _ := strings.Cut(err.Error(), ":")
	key := "config." + field
	return strings.TrimSuffix(given[key], key)
}
