package settings

import (
	"time"

	"github.com/seed27495941/seckill/backend/credential"
)

// A setting has a name in files, backends that know it, and a way to get a
// value into place.
type setting struct {
	key      string
	backends []string // nil: not the backend's business
	set      setter
}

// known lists the settings.
func known() []setting {
	remote, consul := []string{Etcd, Consul}, []string{Consul}
	return []setting{
		{"backend", nil, bind(oneOf(Etcd, Consul, Memory), func(s *Settings) *string { return &s.Backend })},

		{"store.endpoints", remote, bind(endpoints, func(s *Settings) *[]string { return &s.Store.Endpoints })},
		{"store.root", remote, bind(root, func(s *Settings) *string { return &s.Store.Root })},
		{"store.user", remote, bind(text, func(s *Settings) *string { return &s.Store.User })},
		{"store.password", remote, bind(secret, func(s *Settings) *credential.Secret { return &s.Store.Password })},
		{"store.password_file", remote, bind(text, func(s *Settings) *string { return &s.Store.PasswordFile })},
		{"store.token", consul, bind(secret, func(s *Settings) *credential.Secret { return &s.Store.Token })},
		{"store.token_file", consul, bind(text, func(s *Settings) *string { return &s.Store.TokenFile })},
		{"store.datacenter", consul, bind(text, func(s *Settings) *string { return &s.Store.Datacenter })},
		{"store.dial_timeout", remote, bind(duration, func(s *Settings) *time.Duration { return &s.Store.DialTimeout })},
		{"store.request_timeout", remote, bind(duration, func(s *Settings) *time.Duration { return &s.Store.RequestTimeout })},
		{"store.tls.ca", remote, bind(text, func(s *Settings) *string { return &s.Store.TLS.CAFile })},
		{"store.tls.cert", remote, bind(text, func(s *Settings) *string { return &s.Store.TLS.CertFile })},
		{"store.tls.key", remote, bind(text, func(s *Settings) *string { return &s.Store.TLS.KeyFile })},
		{"store.tls.server_name", remote, bind(text, func(s *Settings) *string { return &s.Store.TLS.ServerName })},

		{"api.bind", nil, bind(bindAddress, func(s *Settings) *string { return &s.API.Bind })},
		{"api.advertise", nil, bind(reachable, func(s *Settings) *string { return &s.API.Advertise })},
		{"admin.bind", nil, bind(loopback, func(s *Settings) *string { return &s.Admin.Bind })},
		{"ops.bind", nil, bind(bindAddress, func(s *Settings) *string { return &s.Ops.Bind })},
		{"rpc.bind", nil, bind(bindAddress, func(s *Settings) *string { return &s.RPC.Bind })},
		{"rpc.advertise", nil, bind(reachable, func(s *Settings) *string { return &s.RPC.Advertise })},
		{"rpc.tls.ca", nil, bind(text, func(s *Settings) *string { return &s.RPC.TLS.CAFile })},
		{"rpc.tls.cert", nil, bind(text, func(s *Settings) *string { return &s.RPC.TLS.CertFile })},
		{"rpc.tls.key", nil, bind(text, func(s *Settings) *string { return &s.RPC.TLS.KeyFile })},
		{"rpc.tls.server_name", nil, bind(text, func(s *Settings) *string { return &s.RPC.TLS.ServerName })},
		{"identity.keys_file", nil, bind(text, func(s *Settings) *string { return &s.Identity.KeysFile })},
		{"identity.issuer", nil, bind(text, func(s *Settings) *string { return &s.Identity.Issuer })},
		{"identity.audience", nil, bind(text, func(s *Settings) *string { return &s.Identity.Audience })},
		{"payment.secret_file", nil, bind(text, func(s *Settings) *string { return &s.Payment.SecretFile })},
		{"node.ttl", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Node.TTL })},
		{"log.level", nil, bind(oneOf(logLevels()...), func(s *Settings) *string { return &s.Log.Level })},
		{"log.format", nil, bind(oneOf("text", "json"), func(s *Settings) *string { return &s.Log.Format })},
		{"trace.endpoint", nil, bind(collector, func(s *Settings) *string { return &s.Trace.Endpoint })},
		{"pid_file", remote, bind(text, func(s *Settings) *string { return &s.PIDFile })},
		{"drain_timeout", nil, bind(duration, func(s *Settings) *time.Duration { return &s.DrainTimeout })},

		{"config.rateLimit.middle", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.Middle })},
		{"config.rateLimit.low", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.Low })},
		{"config.circuitBreaker.cpu", nil, bind(number, func(s *Settings) *int { return &s.Config.CircuitBreaker.CPU })},
		{"config.circuitBreaker.latency", nil, bind(number, func(s *Settings) *int { return &s.Config.CircuitBreaker.Latency })},
	}
}

// moved says what to do about sections and keys that people have reason to try.
func moved() map[string]string {
	const orders = "orders live in the coordination store (see backend), there is no other database to configure: remove the section"
	return map[string]string{
		"mysql":           orders,
		"redis":           orders,
		"etcd":            `the section is [store], with backend = "etcd" above it`,
		"consul":          `the section is [store], with backend = "consul" above it`,
		"config.logLevel": "set log.level: it is what the cluster config's logLevel falls back to",
	}
}
