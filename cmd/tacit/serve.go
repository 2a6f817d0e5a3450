package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/signature"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
)

// defaultAddress is where a server listens and where clients look for it.
const defaultAddress = "127.0.0.1:7400"

func serveCommand(u *ui) *cobra.Command {
	var data, listen, metrics, params, logFormat, logLevel, role, serviceKey, device string
	var callersFile, audience, auditLog string
	var certs host.TLSFiles
	var workers, jobs, keyMemory, jobMemory, maxKey int
	var maxQueued int
	var maxBacklog int64
	var storage host.StoreConfig
	var keep upkeep.Policy
	var serveKeys []string
	var drain, lease time.Duration
	var plaintext, profiling, untilEOF, mock bool
	cmd := &cobra.Command{
		Use:   "serve --data DIR | --mock",
		Short: "Run a coprocessor",
		Long: `Runs a coprocessor over a data directory, after a self-test of the processor. The
address is printed on standard output once calls are answered; the log goes to
standard error. Whatever was acknowledged survives a crash: started again over
the same directory, the server goes on.

An interrupt (SIGINT) or SIGTERM ends it in order: no new jobs, running ones have
the time of --drain to end and are otherwise taken up again at the next start. A
second signal ends it at once, which loses nothing either.

Bootstraps run on the GPUs of the machine, or on the processor where there are none;
--device chooses. What a GPU fails at is computed on the processor, with the same bits,
and logged.

Without --callers, everyone who connects is an administrator, and only loopback
addresses are allowed. With it, whoever calls needs a credential of that file, which
'tacit token' makes and withdraws; what a role or a right does not allow is denied.
With --tls-cert and --tls-key connections are encrypted (TLS 1.3), with
--tls-client-ca clients also need a certificate of that authority. Addresses that
other machines reach need both TLS and callers, unless --insecure-plaintext is given.
These files are read again when they change.

Several processes can share the work. Jobs, ciphertexts and keys then lie in NATS
JetStream: external servers (--nats-url, which must sync every write), or embedded ones
that form a cluster (--node, --cluster-listen, --peers), or one embedded server that others
connect to (--nats-listen). --role api answers calls and --role worker computes, both
with a --data directory of their own, or one per machine. A worker that is gone loses
its jobs to another after --lease. Records are kept by --replicas servers. Embedded
servers that form a cluster or are connected to share --nats-secret-file, and where other
machines reach them they need --nats-ca, --nats-cert and --nats-key. Receipts are signed with
--service-key: give all processes the same. 'tacit cluster' starts all of it on one machine.

Jobs that have ended are kept for --keep-jobs, the newest --keep-jobs-count of them;
those beyond are removed within seconds. Each takes up to 1 kB of memory, so 100 MB
for the 100,000 of the default, besides prepared keys (--key-memory), running jobs
(--job-memory) and some 100 MB for all else. A ciphertext takes as much for as long as it is kept (--keep-unused).

With --mock the server computes on plaintexts that have the form of ciphertexts, and
keeps everything in memory: for fast tests of contracts and clients. Everything else is
as with ciphertexts: types, limits, rights, costs and errors. It takes keys of the
parameters insecure-test-mock-v1 alone, whose ciphertexts everybody can read, and no
other server takes those; GetInfo and receipts name the backend mock.

Garbage is collected when the heap has grown by a quarter, but not before it has reached
1 GiB, or a sixteenth of the memory that the process may take (the machine's, or the limit
of its control group). GOGC and GOMEMLIMIT, where they are set, rule instead.

--audit-log receives a line of JSON for every call that was to change something or
was denied: time, outcome, method, principal, credential, peer and what it was about.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(u.err, logFormat, logLevel)
			if err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			if profiling && metrics == "" {
				return wrongUsage(cmd, "--pprof needs --metrics-listen")
			}
			if workers < 0 || jobs < 0 || maxQueued < 0 || maxBacklog < 0 || keyMemory < 0 || jobMemory < 0 || maxKey < 0 || drain < 0 || lease < 0 {
				return wrongUsage(cmd, "--workers, --jobs, --max-queued, --max-backlog, --key-memory, --job-memory, --max-key, --drain and --lease are not negative")
			}
			if err := storage.Check(); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			if err := checkKeep(&keep); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			keys, err := parseKeyIDs(serveKeys)
			if err != nil {
				return wrongUsage(cmd, "--serve-keys: %v", err)
			}
			switch coprocessor.Role(role) {
			case coprocessor.RoleAll, coprocessor.RoleAPI, coprocessor.RoleWorker:
			default:
				return wrongUsage(cmd, "%v", &choiceError{"--role", role, "all, api or worker"})
			}
			if (certs.Cert == "") != (certs.Key == "") {
				return wrongUsage(cmd, "--tls-cert and --tls-key go together")
			}
			if certs.ClientCA != "" && certs.Cert == "" {
				return wrongUsage(cmd, "--tls-client-ca needs --tls-cert and --tls-key")
			}
			if plaintext && certs.Cert != "" {
				return wrongUsage(cmd, "--insecure-plaintext and --tls-cert exclude each other")
			}
			if mock {
				if storage.Shared() {
					return wrongUsage(cmd, "--mock keeps everything in memory: it excludes --nats-url, --nats-listen and --node")
				}
				if cmd.Flags().Changed("params") && params != fhe.MockPreset {
					return wrongUsage(cmd, "--mock computes with %s alone", fhe.MockPreset)
				}
				params = fhe.MockPreset
				u.warn("this is a mock: it computes on plaintexts, and forgets them when it ends")
				if data == "" {
					if data, err = os.MkdirTemp("", "tacit-mock-"); err != nil {
						return err
					}
					defer os.RemoveAll(data)
				}
			} else if data == "" {
				return wrongUsage(cmd, "--data is needed")
			}
			p, err := u.preset(params)
			if err != nil {
				return err
			}
			options := coprocessor.Options{
				Dir: data, Params: p, Workers: workers, ConcurrentJobs: jobs, MaxQueued: maxQueued, MaxBacklog: maxBacklog, KeyMemory: int64(keyMemory) << 20, JobMemory: int64(jobMemory) << 20, MaxKey: int64(maxKey) << 20,
				DrainTimeout: drain, Version: version(), Log: log, Audience: audience,
				Role: coprocessor.Role(role), Lease: lease, ServiceKey: serviceKey, Mock: mock, Keep: keep, ServeKeys: keys,
			}
			if options.JobMemory == 0 {
				options.JobMemory = max(coprocessor.DefaultJobMemory, setting.AllowedMemory()/4)
			}
			var transport *host.TLSFiles
			if certs.Cert != "" {
				transport = &certs
			}
			if callersFile != "" {
				if options.Callers, err = access.OpenCallers(callersFile, log); err != nil {
					return err
				}
			}
			if auditLog != "" {
				audit, err := openAudit(auditLog, log)
				if err != nil {
					return err
				}
				defer audit.Close()
				options.Audit = slog.New(slog.NewJSONHandler(audit, nil))
			}
			backend, why, err := u.openDevice(cmd, device, func(err error) { log.Error("a GPU fails; the rest goes on", "error", err) })
			if err != nil {
				return err
			}
			defer backend.Close()
			options.Backend = backend
			if why != nil {
				log.Debug("no GPU is used", "reason", why)
			}
			if plaintext {
				u.warn("connections are not encrypted: whoever sees those to %s sees what is computed, and can take part", listen)
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			defer onHangup(func() {
				log.Info("hangup: files of callers and certificates are read again when they change, nothing else is to be read")
			})()
			if untilEOF {
				go func() {
					io.Copy(io.Discard, u.in) // an end or an error, it is over
					stop()
				}()
			}
			err = host.Run(ctx, host.Config{
				Options: options,
				Listen:  listen, TLS: transport, InsecurePlaintext: plaintext, Storage: storage,
				Monitor: host.MonitorConfig{Listen: metrics, Profiling: profiling, Ready: func(address string) {
					log.Info("metrics are served", "url", "http://"+address+"/")
				}},
			}, func(address string) {
				log.Info("ready", "address", address, "parameters", p.Name(), "backend", backend.Info().Name, "features", backend.Info().Features, "version", version())
				context.AfterFunc(ctx, func() { log.Info("stopping", "drain", drain) })
				u.printf("listening on %s\n", address)
			})
			if err == nil {
				log.Info("stopped")
			}
			return err
		},
	}
	configFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&data, "data", "", "directory for jobs, ciphertexts and keys, or with --nats-url for what is this process's own; made if it is absent")
	flags.StringVar(&role, "role", string(coprocessor.RoleAll), "all, or api to answer calls, or worker to compute")
	natsFlags(cmd, &storage)
	memberFlags(cmd, &storage)
	keepFlags(cmd, &keep)
	flags.Var((*list)(&serveKeys), "serve-keys", "ids of the evaluation keys whose jobs this process computes, with commas; all if empty")
	flags.DurationVar(&lease, "lease", 30*time.Second, "how long a job stays with a worker that gives no sign of life")
	flags.StringVar(&serviceKey, "service-key", "", "file with the key that signs receipts, made if it is absent; service.key of --data if empty")
	flags.StringVar(&listen, "listen", defaultAddress, "host and port to listen on; port 0 takes a free one")
	flags.BoolVar(&plaintext, "insecure-plaintext", false, "allow addresses that other machines reach")
	flags.StringVar(&certs.Cert, "tls-cert", "", "certificate of the server in PEM")
	flags.StringVar(&certs.Key, "tls-key", "", "key of the certificate in PEM")
	flags.StringVar(&certs.ClientCA, "tls-client-ca", "", "authority in PEM that every client needs a certificate of")
	flags.StringVar(&callersFile, "callers", "", "who may call: the file of 'tacit token'")
	flags.StringVar(&audience, "audience", signature.DefaultAudience, "name of this service in signed calls")
	flags.StringVar(&auditLog, "audit-log", "", "file that every decision is appended to")
	flags.StringVar(&metrics, "metrics-listen", "", "host and port for metrics, health and a status page, over HTTP; :9464 is on this machine alone; off if empty")
	flags.BoolVar(&profiling, "pprof", false, "serve profiles with the metrics")
	paramsFlag(cmd, &params)
	deviceFlag(cmd, &device)
	flags.IntVar(&workers, "workers", 0, "cores that bootstrap, or help a GPU where that pays; 0 is all")
	flags.IntVar(&jobs, "jobs", 0, "jobs that run at a time; 0 is 8 for each core that bootstraps, at most 64")
	flags.IntVar(&maxQueued, "max-queued", 10_000, "jobs that may wait; more are refused")
	flags.Int64Var(&maxBacklog, "max-backlog", 0, "bootstraps that waiting jobs may be going to take together; 0 is no limit")
	flags.IntVar(&keyMemory, "key-memory", 1024, "MiB of prepared evaluation keys that stay in memory when they are not in use; at most what GPUs have room for, which take copies")
	flags.IntVar(&jobMemory, "job-memory", 0, "MiB that running jobs may take together, and with --callers those of one principal half of, besides keys; a job that takes more is refused; 0 is a quarter of the memory that the process may take, and at least 2048")
	flags.IntVar(&maxKey, "max-key", coprocessor.DefaultMaxKey>>20, "MiB of the largest evaluation key or migration key that is taken; an evaluation key of ckks-16-boot has 1698, and takes 3.8 GB of memory while it is in use")
	flags.BoolVar(&mock, "mock", false, "compute on plaintexts, in memory: for tests of programs that call a coprocessor")
	flags.DurationVar(&drain, "drain", 30*time.Second, "how long running jobs may go on after a signal")
	flags.BoolVar(&untilEOF, "until-eof", false, "end in order when standard input ends, for those who start this process")
	flags.StringVar(&logFormat, "log-format", "text", "text or json")
	flags.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	// Clients have flags of these names too, for another certificate.
	envAs(cmd, "tls-cert", "TACIT_SERVE_TLS_CERT")
	envAs(cmd, "tls-key", "TACIT_SERVE_TLS_KEY")
	envAs(cmd, "tls-client-ca", "TACIT_SERVE_TLS_CLIENT_CA")
	env(cmd, "role", "lease", "service-key", "serve-keys")
	env(cmd, "data", "listen", "insecure-plaintext", "callers", "audience", "audit-log", "metrics-listen", "pprof", "workers", "jobs", "key-memory", "job-memory", "max-key", "max-queued", "max-backlog", "mock", "drain", "log-format", "log-level")
	under(cmd, flagsCallers, "listen", "callers", "audience", "audit-log", "tls-cert", "tls-key", "tls-client-ca", "insecure-plaintext")
	under(cmd, flagsCompute, "params", "device", "workers", "jobs", "drain")
	under(cmd, flagsKept, "key-memory", "job-memory", "max-key", "max-queued", "max-backlog", "keep-jobs", "keep-jobs-count", "keep-unused")
	under(cmd, flagsShared, "role", "lease", "serve-keys", "service-key", "node", "cluster-listen", "peers", "replicas",
		"nats-listen", "nats-url", "nats-creds", "nats-ca", "nats-cert", "nats-key", "nats-secret-file")
	under(cmd, flagsWatching, "metrics-listen", "pprof", "log-format", "log-level")
	complete(cmd, "role", "all", "api", "worker")
	complete(cmd, "log-format", "text", "json")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	return cmd
}

// onHangup does something at each SIGHUP, which ends the process otherwise.
func onHangup(do func()) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				do()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}

// parseKeyIDs reads ids of keys.
func parseKeyIDs(texts []string) ([][32]byte, error) {
	var ids [][32]byte
	for _, text := range texts {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 {
			return nil, fmt.Errorf("%.80q is not the id of a key: want 64 hexadecimal digits", text)
		}
		ids = append(ids, [32]byte(b))
	}
	return ids, nil
}

// newLog makes the log of a server.
func newLog(w *os.File, format, level string) (*slog.Logger, error) {
	o := &slog.HandlerOptions{}
	l := new(slog.Level)
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &choiceError{"--log-level", level, "debug, info, warn or error"}
	}
	o.Level = l
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, &choiceError{"--log-format", format, "text or json"}
}

// choiceError is a flag with a value that it cannot have.
type choiceError struct{ flag, got, want string }

func (e *choiceError) Error() string { return e.flag + " is " + e.got + ", want " + e.want }
