package settings

import (
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/follow"
	"github.com/seed27495941/seckill/backend/credential"
)

// A setting has a name in files, backends that know it, and a place.
type setting struct {
	key      string
	backends []string // nil: not the backend's business
	binding
}

// isHot reports whether the setting takes effect while the process runs: it is a
// default of the cluster config.
func (s setting) isHot() bool { return s.key == "log.level" || strings.HasPrefix(s.key, "config.") }

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
		{"admin.bind", nil, bind(bindAddress, func(s *Settings) *string { return &s.Admin.Bind })},
		{"admin.tls.cert", nil, bind(text, func(s *Settings) *string { return &s.Admin.TLS.CertFile })},
		{"admin.tls.key", nil, bind(text, func(s *Settings) *string { return &s.Admin.TLS.KeyFile })},
		{"admin.archive_dir", nil, bind(text, func(s *Settings) *string { return &s.Jobs.ArchiveDir })},
		{"admin.archive_after", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Jobs.ArchiveAfter })},
		{"admin.audit_keep", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Jobs.AuditKeep })},
		{"admin.audit_max", nil, bind(positive, func(s *Settings) *int { return &s.Jobs.AuditMax })},
		{"ops.bind", nil, bind(bindAddress, func(s *Settings) *string { return &s.Ops.Bind })},
		{"ops.advertise", nil, bind(reachable, func(s *Settings) *string { return &s.Ops.Advertise })},
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
		{"blacklist.file", nil, bind(text, func(s *Settings) *string { return &s.Blacklist.File })},
		{"blacklist.mode", nil, bind(oneOf("events", "timer", "push"), func(s *Settings) *string { return &s.Blacklist.Mode })},
		{"blacklist.interval", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Blacklist.Interval })},
		{"node.ttl", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Node.TTL })},
		{"log.level", nil, bind(oneOf(logLevels()...), func(s *Settings) *string { return &s.Log.Level })},
		{"log.format", nil, bind(oneOf("text", "json"), func(s *Settings) *string { return &s.Log.Format })},
		{"reload.mode", nil, bind(oneOf(string(follow.Events), string(follow.Timer), string(follow.Push)), func(s *Settings) *string { return &s.Reload.Mode })},
		{"reload.interval", nil, bind(duration, func(s *Settings) *time.Duration { return &s.Reload.Interval })},
		{"trace.endpoint", nil, bind(collector, func(s *Settings) *string { return &s.Trace.Endpoint })},
		{"pid_file", remote, bind(text, func(s *Settings) *string { return &s.PIDFile })},
		{"drain_timeout", nil, bind(duration, func(s *Settings) *time.Duration { return &s.DrainTimeout })},

		{"config.rateLimit.middle", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.Middle })},
		{"config.rateLimit.low", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.Low })},
		{"config.rateLimit.perUser.requests", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.PerUser.Requests })},
		{"config.rateLimit.perUser.seconds", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.PerUser.Seconds })},
		{"config.rateLimit.perUser.burst", nil, bind(number, func(s *Settings) *int { return &s.Config.RateLimit.PerUser.Burst })},
		{"config.circuitBreaker.cpu", nil, bind(number, func(s *Settings) *int { return &s.Config.CircuitBreaker.CPU })},
		{"config.circuitBreaker.latency", nil, bind(number, func(s *Settings) *int { return &s.Config.CircuitBreaker.Latency })},
		{"config.degrade.readOnly", nil, bind(boolean, func(s *Settings) *bool { return &s.Config.Degrade.ReadOnly })},
		{"config.degrade.refuseOrders", nil, bind(boolean, func(s *Settings) *bool { return &s.Config.Degrade.RefuseOrders })},
		{"config.degrade.cached", nil, bind(boolean, func(s *Settings) *bool { return &s.Config.Degrade.Cached })},
		{"config.payment.deadline", nil, bind(number, func(s *Settings) *int { return &s.Config.Payment.Deadline })},
		{"config.pools.streams", nil, bind(number, func(s *Settings) *int { return &s.Config.Pools.Streams })},
		{"config.pools.waiting", nil, bind(number, func(s *Settings) *int { return &s.Config.Pools.Waiting })},
	}
}

// moved says what to do about sections and keys that people have reason to try.
func moved() map[string]string {
	const orders = "orders live in the coordination store (see backend), there is no other database to configure: remove the section"
	return map[string]string{
		"mysql":                 orders,
		"redis":                 orders,
		"etcd":                  `the section is [store], with backend = "etcd" above it`,
		"consul":                `the section is [store], with backend = "consul" above it`,
		"config.degrade.events": "single events are switched in the cluster config, or by 'seckill nodes push'",
		"config.logLevel":       "set log.level: it is what the cluster config's logLevel falls back to",
	}
}
