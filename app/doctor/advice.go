package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
)

// An advice is what there is to do at a kind of store, for these settings. What
// it does not know of a kind is empty.
type advice struct {
	keys   string // grants all that is needed with keys
	leases string // grants leases
	full   string // makes room
	list   string // shows which keys there are
	expiry func(ttl time.Duration) string

	login string // which flags say who we are
}

func adviceFor(set settings.Settings) advice {
	switch set.Backend {
	case settings.Etcd:
		return etcdAdvice(set)
	case settings.Consul:
		return consulAdvice(set)
	}
	return advice{expiry: func(ttl time.Duration) string { return fmt.Sprintf("a node that dies is listed for some %v", ttl) }}
}

func etcdAdvice(set settings.Settings) advice {
	command := "    etcdctl"
	if len(set.Store.Endpoints) > 0 {
		command += " --endpoints=" + strings.Join(set.Store.Endpoints, ",")
	}
	files := set.Store.TLS
	command += flag("--cacert", files.CAFile) + flag("--cert", files.CertFile) + flag("--key", files.KeyFile)
	admin, below := command, quoted("/"+set.Store.Root)
	if set.Store.User != "" {
		admin += " --user=root"
	}
	grant := "Let a role of the user read and write below the root:\n" +
		admin + " role add seckill\n" +
		admin + " role grant-permission seckill readwrite --prefix " + below + "\n" +
		admin + " user grant-role " + quoted(cmp.Or(set.Store.User, "NAME")) + " seckill"
	login := "Give the user and a file with the password:\n    --user=NAME --password-file=FILE"
	if set.Store.User != "" {
		login = "Correct the password, or set it anew:\n" + admin + " user passwd " + quoted(set.Store.User)
	}
	return advice{
		keys:   grant,
		leases: grant, // it takes no more than a user that is known
		full:   "See alarms and quota.",
		list:   "See what they are:\n" + command + " get --prefix --keys-only " + below,
		expiry: func(ttl time.Duration) string { return fmt.Sprintf("a node that dies is listed for up to %v", ttl) },
		login:  login,
	}
}

// flag gives a command an option, unless that has no value.
func flag(name, value string) string {
	if value == "" {
		return ""
	}
	return " " + name + "=" + quoted(value)
}

func consulAdvice(set settings.Settings) advice {
	at, files := "", set.Store.TLS
	if len(set.Store.Endpoints) > 0 {
		at = set.Store.Endpoints[0]
		if files.Enabled() && !strings.Contains(at, "://") {
			at = "https://" + at
		}
	}
	at = flag("-http-addr", at) + flag("-datacenter", set.Store.Datacenter) + flag("-ca-file", files.CAFile) +
		flag("-client-cert", files.CertFile) + flag("-client-key", files.KeyFile) + flag("-tls-server-name", files.ServerName)
	login := "Give a file with the token:\n    --token-file=FILE"
	add := login + "\nand in a policy of that token:\n    "
	if set.Store.Token != "" || set.Store.TokenFile != "" {
		login = "Correct the token, or make a new one:\n    consul acl token create -policy-name=seckill" + at
		add = "Add to a policy of the token:\n    "
	}
	return advice{
		keys:   add + fmt.Sprintf("key_prefix %s { policy = \"write\" }", strconv.Quote(set.Store.Root)),
		leases: add + "session_prefix \"\" { policy = \"write\" }",
		full:   "Make room on the disk of the servers: see data_dir in their configuration.",
		list:   "See what they are:\n    consul kv get -recurse -keys" + at + " " + quoted(set.Store.Root),
		expiry: func(ttl time.Duration) string {
			return fmt.Sprintf("a node that dies is listed for %v to %v: Consul ends a session after once to twice its TTL", ttl, 2*ttl)
		},
		login: login,
	}
}

// complete adds what lies in the settings to what the driver says.
func (a advice) complete(f *backend.Finding) {
	if f.Verdict != backend.VerdictWarn && f.Verdict != backend.VerdictFail {
		return
	}
	switch {
	case f.Check == "endpoints" && f.Remedy == "":
		f.Remedy = connection(f.Found)
	case f.Check == "credentials" && f.Remedy == "":
		f.Remedy = a.login
	}
}

// connection is what to do about endpoints that can't be reached, by the text
// that says why: all drivers get those of Go's net and crypto packages.
func connection(text string) string {
	const noTLS = "The server speaks no TLS: leave --ca, --cert, --key and --server-name out, and https:// in --endpoints."
	var remedies []string
	for _, c := range []struct{ text, remedy string }{
		{"connection refused", "Nothing listens there. Start the server, or correct the address:\n    --endpoints=HOST:PORT,HOST:PORT"},
		{"no such host", "The name is not known. Correct it, or have it entered into the DNS:\n    --endpoints=HOST:PORT,HOST:PORT"},
		{"no route to host", "The network does not lead there. Correct the address, or look at routes and firewalls:\n    --endpoints=HOST:PORT,HOST:PORT"},
		{"no answer within", "Something is there and silent: a server that hangs or is overloaded, or a firewall."},
		{"unknown authority", "Give the CA that signed the server's certificate:\n    --ca=FILE"},
		{"x509: certificate is valid for", "The server's certificate is for another name. If it is the right server:\n    --server-name=NAME"},
		{"doesn't contain any IP SANs", "The server's certificate is for names only. If it is the right server:\n    --server-name=NAME"},
		{"certificate required", "The server wants a certificate:\n    --cert=FILE --key=FILE"},
		{"bad certificate", "The server does not take the certificate. It wants one of its own CA:\n    --cert=FILE --key=FILE"},
		{"first record does not look like a TLS handshake", noTLS},
		{"server gave HTTP response to HTTPS client", noTLS},
		{"authentication handshake failed: EOF", "The server speaks no TLS, or ends it for a reason that its log has."},
		{"HTTP request to an HTTPS server", "The server speaks TLS:\n    --endpoints=https://HOST:PORT --ca=FILE"},
		{"error reading server preface", "The server speaks TLS, or is none of this kind:\n    --endpoints=https://HOST:PORT --ca=FILE"},
		{"Unexpected response code: 404", "That is another server: correct the address, or the kind of store:\n    --endpoints=HOST:PORT --backend=etcd"},
	} {
		if strings.Contains(text, c.text) && !slices.Contains(remedies, c.remedy) {
			remedies = append(remedies, c.remedy)
		}
	}
	return strings.Join(remedies, "\n")
}

// quoted is a text as a shell takes it for one word.
func quoted(text string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.:,@", r)
	}
	if text != "" && strings.TrimLeftFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
