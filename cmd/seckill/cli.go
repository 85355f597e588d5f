package main

import "github.com/alecthomas/kong"

const description = `A flash sale whose only shared state is a coordination store: etcd or Consul, chosen by --backend.

Try it out, then look around in another terminal:

    seckill up
    seckill kv list

Run it for real, on as many machines as needed, with the store that is there:

    seckill api --endpoints=etcd-1:2379,etcd-2:2379 --api-bind=0.0.0.0:8080 --advertise=10.10.11.12:8080
    seckill admin --backend=consul --endpoints=127.0.0.1:8500 --token-file=/run/secrets/consul

Flags win over the environment, that over the file of --config, that over the defaults. In the environment a flag is
written as SECKILL_ENDPOINTS, SECKILL_LOG_LEVEL and so on.

Exit codes: 0 success, 1 failure (kv get: there is no such key), 2 wrong usage or settings, 3 a condition of a write does
not hold (--if-revision), somebody else was faster, an event is not in the status for a step, or a lock is somebody else's (lock --timeout). That of a command which 'seckill lock' runs is passed on.`

// cli is the command line. A flag with a setting tag goes by that name in a
// file, where package settings documents it; what is not given has the default
// that package gives it.
type cli struct {
	Config string `help:"TOML or YAML file with settings." placeholder:"FILE" env:"SECKILL_CONFIG" type:"path"`

	storeFlags `group:"store"`
	logFlags   `group:"log"`

	Up      upCommand      `cmd:"" group:"serve" help:"Start everything in one process, with an etcd inside, to try it out."`
	API     apiCommand     `cmd:"" group:"serve" name:"api" help:"Serve buyers: one node of the cluster."`
	Admin   adminCommand   `cmd:"" group:"serve" help:"Serve operators."`
	Upgrade upgradeCommand `cmd:"" group:"serve" help:"Replace a running process by the program as it is now, without an interruption."`

	Login     loginCommand     `cmd:"" group:"remote" help:"Begin a session with the admin service."`
	Logout    logoutCommand    `cmd:"" group:"remote" help:"End it."`
	Whoami    whoamiCommand    `cmd:"" group:"remote" help:"Tell who one is for the admin service."`
	Passwd    passwdCommand    `cmd:"" group:"remote" help:"Change one's own password."`
	Events    eventsCommand    `cmd:"" group:"remote" help:"Make, publish, suspend, close and look at sales."`
	Orders    ordersCommand    `cmd:"" group:"remote" help:"Search orders, and export those of a sale."`
	Nodes     nodesCommand     `cmd:"" group:"remote" help:"List, drain and weigh nodes, override the config of one, or have it load a file again."`
	Blacklist blacklistCommand `cmd:"" group:"remote" help:"Tell how the nodes' blacklists stand."`
	Cluster   configCommand    `cmd:"" group:"remote" name:"config" help:"Read, change, try and roll back the cluster config."`
	Jobs      jobsCommand      `cmd:"" group:"remote" help:"Tell how what admins do by themselves went last."`
	Audit     auditCommand     `cmd:"" group:"remote" help:"See who did what."`
	Users     usersCommand     `cmd:"" group:"remote" help:"Say who may log in, or let an operator in who is locked out."`
	Tokens    tokensCommand    `cmd:"" group:"remote" help:"Let programs in."`

	KV      kvCommand      `cmd:"" group:"direct" name:"kv" help:"Read and write keys of the store."`
	Lock    lockCommand    `cmd:"" group:"direct" help:"Run a command while holding a lock."`
	Elect   electCommand   `cmd:"" group:"direct" help:"Stand for election, or see who leads."`
	Verify  verifyCommand  `cmd:"" group:"direct" help:"Check a sale against every rule, by what the store or an archive has of it."`
	Archive archiveCommand `cmd:"" group:"direct" help:"Keep a closed sale in files, and delete it from the store."`
	Doctor  doctorCommand  `cmd:"" group:"direct" help:"Examine the store: what works, what does not, and what to do about it."`

	Token   tokenCommand   `cmd:"" help:"Print a buyer's token, for development and tests."`
	Keys    keysCommand    `cmd:"" help:"Make and change the keys that buyers' tokens are signed with."`
	Version versionCommand `cmd:"" help:"Show the version."`

	Completion completionCommand `cmd:"" help:"Print a shell's completion of this command line."`
}

var groups = []kong.Group{
	{Key: "serve", Title: "Processes that serve:"},
	{Key: "remote", Title: "Over the admin service (--admin): 'seckill login' first"},
	{Key: "direct", Title: "Directly on the store (--backend, --endpoints):"},
	{Key: "store", Title: "Store:"},
	{Key: "log", Title: "Log:"},
	{Key: "listen", Title: "Addresses:"},
	{Key: "buyers", Title: "Buyers:"},
	{Key: "admin", Title: "Admin service:"},
}

type storeFlags struct {
	Backend        string   `setting:"backend" placeholder:"etcd" help:"etcd, consul, or memory: a store inside the process, to try things out with 'seckill up'."`
	Endpoints      []string `setting:"store.endpoints" placeholder:"HOST:PORT" help:"Servers of the store (127.0.0.1:2379 for etcd, 127.0.0.1:8500 for Consul)."`
	Root           string   `setting:"store.root" placeholder:"seckill/" help:"Prefix of all keys."`
	User           string   `setting:"store.user" placeholder:"NAME" help:"User of etcd, or of a proxy in front of Consul."`
	PasswordFile   string   `setting:"store.password_file" placeholder:"FILE" help:"File with the password; read again when it changes."`
	Password       string   `setting:"store.password" placeholder:"TEXT" help:"The password. Everybody on this machine can see it in the list of processes: use the file or SECKILL_PASSWORD."`
	TokenFile      string   `setting:"store.token_file" placeholder:"FILE" help:"File with Consul's ACL token; read again when it changes."`
	Token          string   `setting:"store.token" placeholder:"TEXT" help:"The token. Visible as --password is: use the file or SECKILL_TOKEN."`
	Datacenter     string   `setting:"store.datacenter" placeholder:"NAME" help:"Consul's datacenter, if not that of the endpoint."`
	CA             string   `name:"ca" setting:"store.tls.ca" placeholder:"FILE" help:"Certificates that the servers' must chain to."`
	Cert           string   `setting:"store.tls.cert" placeholder:"FILE" help:"Client certificate."`
	Key            string   `setting:"store.tls.key" placeholder:"FILE" help:"Key of the client certificate."`
	ServerName     string   `setting:"store.tls.server_name" placeholder:"NAME" help:"Name expected in the servers' certificates, if not their address."`
	DialTimeout    string   `setting:"store.dial_timeout" placeholder:"TIME" help:"Bound of an attempt to connect (5s for etcd, 2s for Consul)."`
	RequestTimeout string   `setting:"store.request_timeout" placeholder:"5s" help:"Bound of a request."`
}

type logFlags struct {
	LogLevel  string `setting:"log.level" placeholder:"info" help:"debug, info, warn or error, until the cluster config says otherwise."`
	LogFormat string `setting:"log.format" placeholder:"text" help:"text or json."`
}

// serviceFlags are for every process that serves.
type serviceFlags struct {
	OpsBind        string `setting:"ops.bind" group:"listen" placeholder:"127.0.0.1:8090" help:"Where /metrics, /status and profiles are."`
	OpsAdvertise   string `setting:"ops.advertise" group:"listen" placeholder:"HOST:PORT" help:"Where monitoring reaches that, if not there."`
	TraceEndpoint  string `setting:"trace.endpoint" placeholder:"HOST:PORT" help:"OpenTelemetry collector that spans of store calls are sent to, by OTLP over gRPC; without it there are none. With TLS: https://HOST:PORT."`
	ReloadMode     string `setting:"reload.mode" placeholder:"events" help:"How it is noticed that the file of --config has changed: by events, by a timer (for NFS and the like), or only when told to (push: 'seckill nodes reload')."`
	ReloadInterval string `setting:"reload.interval" placeholder:"1m" help:"How often it is looked at."`
	DrainTimeout   string `setting:"drain_timeout" placeholder:"10s" help:"How long requests in flight may take after SIGTERM or Ctrl-C; a second one cuts them off."`
}

// successionFlags are for processes that another one can replace.
type successionFlags struct {
	PIDFile string `name:"pid-file" setting:"pid_file" placeholder:"FILE" help:"Where the process can be found, to be replaced without an interruption: by 'seckill upgrade', or by another one that is started with the same file."`
}

// rpcTLSFlags are for whoever talks to nodes.
type rpcTLSFlags struct {
	RPCCA         string `name:"rpc-tls-ca" setting:"rpc.tls.ca" group:"listen" placeholder:"FILE" help:"Certificates that other nodes' must chain to."`
	RPCCert       string `name:"rpc-tls-cert" setting:"rpc.tls.cert" group:"listen" placeholder:"FILE" help:"This node's certificate, shown to other nodes at both ends."`
	RPCKey        string `name:"rpc-tls-key" setting:"rpc.tls.key" group:"listen" placeholder:"FILE" help:"Its key."`
	RPCServerName string `name:"rpc-tls-server-name" setting:"rpc.tls.server_name" group:"listen" placeholder:"NAME" help:"Name expected in other nodes' certificates, if not their address."`
}

type apiFlags struct {
	APIBind      string `name:"api-bind" setting:"api.bind" group:"listen" placeholder:"127.0.0.1:8080" help:"Where buyers are served."`
	Advertise    string `setting:"api.advertise" group:"listen" placeholder:"HOST:PORT" help:"Where others reach that, if not there; needed with 0.0.0.0. Also the node's name: nodes/10-10-11-12-8080."`
	RPCBind      string `name:"rpc-bind" setting:"rpc.bind" group:"listen" placeholder:"127.0.0.1:8082" help:"Where other nodes reach this one. Give it to no stranger: without --rpc-tls-ca and its like whoever reaches it is believed to be a node."`
	RPCAdvertise string `name:"rpc-advertise" setting:"rpc.advertise" group:"listen" placeholder:"HOST:PORT" help:"Where they are told to go, if not there."`
	rpcTLSFlags
	IdentityKeysFile string `setting:"identity.keys_file" group:"buyers" placeholder:"FILE" help:"JWK Set with the keys that buyers' tokens are signed with; read again when it changes. See seckill token."`
	IdentityIssuer   string `setting:"identity.issuer" group:"buyers" placeholder:"URL" help:"Issuer that tokens must name."`
	IdentityAudience string `setting:"identity.audience" group:"buyers" placeholder:"NAME" help:"Audience that tokens must be for."`
	PaymentSecret    string `name:"payment-secret-file" setting:"payment.secret_file" group:"buyers" placeholder:"FILE" help:"Secrets that the payment service signs its callbacks with, one a line; read again when it changes. Without it no payments are taken."`
	BlacklistFile    string `setting:"blacklist.file" group:"buyers" placeholder:"FILE" help:"Ids of buyers that are refused, one a line; read again when it changes."`
	BlacklistMode    string `setting:"blacklist.mode" group:"buyers" placeholder:"events" help:"How a change of it is found: events, timer (for NFS and the like) or push."`
	BlacklistEvery   string `name:"blacklist-interval" setting:"blacklist.interval" group:"buyers" placeholder:"1m" help:"How often the file is looked at, by events and timer."`
	NodeTTL          string `name:"node-ttl" setting:"node.ttl" placeholder:"6s" help:"How long a node that went silent stays listed. Consul raises it to 10s and takes up to twice as long."`
}

type adminFlags struct {
	AdminBind string `setting:"admin.bind" group:"listen" placeholder:"127.0.0.1:8081" help:"Where operators are served. Elsewhere than on loopback that takes a certificate."`
	AdminCert string `name:"admin-tls-cert" setting:"admin.tls.cert" group:"listen" placeholder:"FILE" help:"Certificate that operators are shown; read again when it changes."`
	AdminKey  string `name:"admin-tls-key" setting:"admin.tls.key" group:"listen" placeholder:"FILE" help:"Its key."`
}
