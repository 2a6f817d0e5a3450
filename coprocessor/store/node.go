package store

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// MaxRecord is the largest value of a record in bytes: a ciphertext, a job
	// specification, a result.
	MaxRecord = 8 << 20

	// headroom is what a message may carry besides its value: protocol headers.
	headroom = 64 << 10

	// maxMemory bounds JetStream's memory storage. Nothing of ours is kept
	// there; the server's own short-lived consumers are.
	maxMemory = 256 << 20
	// memoryStore bounds it where everything is kept there.
	memoryStore = 4 << 30

	startTimeout  = 30 * time.Second
	answerTimeout = 2 * time.Second
)

// EmbeddedOptions configures Embedded. Only Dir is required.
type EmbeddedOptions struct {
	// Dir is the data directory. It is created with mode 0700 when it is
	// absent; the data lie in its subdirectory "jetstream", always 0700.
	Dir string

	// MaxStore bounds the bytes on disk. Zero means what the directory holds
	// now plus nine tenths of what is free on its file system. Writes beyond the
	// bound fail; JetStream must not meet a full disk, for it would then stop.
	MaxStore int64

	// Member makes the server one of a cluster; nil lets it stand alone.
	Member *Member

	// Memory keeps everything in memory: it is gone with the process, and Dir holds
	// next to nothing. It is for tests.
	Memory bool

	// Replicas is how many servers of a cluster keep each record; zero means 3,
	// or 1 where the server stands alone.
	Replicas int

	// Listen is the host and port where other processes reach the server with
	// Connect; empty is nowhere. They need Secret.
	Listen string

	// TLS encrypts the connections to Listen. Without it, only loopback addresses
	// are allowed.
	TLS *tls.Config

	// Secret is what servers of a cluster and processes that connect show.
	Secret string

	// Log receives the server's messages; nil discards them.
	Log *slog.Logger
}

// Node is a connection to a JetStream, and the server if that is inside this
// process.
type Node struct {
	srv   *server.Server
	conn  *nats.Conn
	js    jetstream.JetStream
	heads *heads // nil in a cluster and in memory
	lock  *os.File
}

const (
	dataDir = "jetstream"
	account = "tacit" // the name that goes with the secret
)

// Embedded starts a JetStream server over a data directory and connects to it
// in-process. Every write is synced to disk before it is acknowledged. The
// context bounds the start only; a member of a cluster waits for the others. A
// directory that another process has open gives *LockedError, one that is not this
// member's *StandaloneError or *MemberError.
func Embedded(ctx context.Context, opts EmbeddedOptions) (_ *Node, err error) {
	if opts.Dir == "" {
		return nil, errors.New("store: no data directory given")
	}
	if opts.MaxStore < 0 || opts.Replicas < 0 {
		return nil, fmt.Errorf("store: MaxStore is %d, Replicas %d", opts.MaxStore, opts.Replicas)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	data := filepath.Join(opts.Dir, dataDir)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := os.Chmod(data, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}

	n := &Node{}
	n.lock, err = lockDir(opts.Dir)
	if err != nil {
		if locked := (*LockedError)(nil); errors.As(err, &locked) {
			return nil, err
		}
		return nil, fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close(context.WithoutCancel(ctx)))
		}
	}()

	if opts.Member != nil {
		m := *opts.Member
		m.Cluster = cmp.Or(m.Cluster, defaultCluster)
		opts.Member = &m
	}
	if err := enlist(opts.Dir, opts.Member); err != nil {
		return nil, err
	}
	if opts.MaxStore == 0 {
		opts.MaxStore, err = defaultMaxStore(opts.Dir)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	so, err := opts.server()
	if err != nil {
		return nil, err
	}
	if n.srv, err = server.NewServer(so); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	n.srv.SetLoggerV2(serverLog{opts.Log.With("component", "jetstream")}, false, false, false)
	n.srv.Start()
	if err := n.waitReady(ctx); err != nil {
		return nil, err
	}

	dial := []nats.Option{nats.InProcessServer(n.srv), nats.Name(account), nats.MaxReconnects(-1)}
	if opts.Secret != "" {
		dial = append(dial, nats.UserInfo(account, opts.Secret))
	}
	n.conn, err = nats.Connect("", dial...)
	if err != nil {
		return nil, fmt.Errorf("store: connecting to the embedded server: %w", err)
	}
	if err := n.open(ctx, buckets{replicas: opts.replicas(), direct: opts.Member == nil && opts.Listen == "", memory: opts.Memory}, opts.Log); err != nil {
		return nil, err
	}
	if opts.Member == nil && !opts.Memory {
		n.heads, err = openHeads(opts.Dir, n.srv, n.js, opts.Log)
	}
	return n, err
}

func (o *EmbeddedOptions) replicas() int {
	if o.Member == nil {
		return cmp.Or(o.Replicas, 1)
	}
	return cmp.Or(o.Replicas, 3)
}

// server returns the options of the server.
func (o *EmbeddedOptions) server() (*server.Options, error) {
	so := &server.Options{
		ServerName:             "tacit",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      o.MaxStore,
		StoreDir:               o.Dir,
		SyncAlways:             true,
		MaxPayload:             MaxRecord + headroom,
		DisableJetStreamBanner: true,
	}
	if o.Memory {
		so.JetStreamMaxMemory, so.SyncAlways = memoryStore, false
	}
	listen := o.Listen
	if o.Member != nil {
		if err := o.Member.configure(so, o.Secret); err != nil {
			return nil, err
		}
		// The server opens its routes only once it listens for clients.
		listen = cmp.Or(listen, "127.0.0.1:0")
	}
	if o.Secret != "" {
		so.Username, so.Password = account, o.Secret
	}
	if listen == "" {
		return so, nil
	}
	if o.Secret == "" {
		return nil, errors.New("store: a server that listens needs a secret")
	}
	host, port, err := splitAddress(listen)
	if err != nil {
		return nil, err
	}
	if o.TLS == nil && !isLoopback(listen) {
		return nil, &PlaintextError{What: "store", Address: listen}
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	so.DontListen, so.Host, so.Port = false, host, port
	so.TLSConfig, so.TLS, so.TLSVerify, so.TLSTimeout = o.TLS, o.TLS != nil, o.TLS != nil && o.TLS.ClientCAs != nil, 5
	return so, nil
}

// Address is the host and port where the embedded server listens for other
// processes, or empty.
func (n *Node) Address() string {
	if n.srv == nil || n.srv.Addr() == nil {
		return ""
	}
	return n.srv.Addr().String()
}

// open makes the connection a JetStream and waits until it answers.
func (n *Node) open(ctx context.Context, b buckets, log *slog.Logger) error {
	js, err := jetstream.New(n.conn)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	b.JetStream = js
	b.recall = newMemory(b.direct)
	n.js = b
	if payload := n.conn.MaxPayload(); payload < MaxRecord+headroom/2 {
		return &PayloadError{Have: payload, Want: MaxRecord + headroom}
	}
	for tries := 0; ; tries++ {
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		_, err := js.AccountInfo(ask)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !transient(err) {
			return fmt.Errorf("store: %w", errors.Join(ctx.Err(), err))
		}
		if tries%20 == 4 {
			log.Warn("the store does not answer yet: more than half of the servers of its cluster must be there", "error", err)
		}
		select {
		case <-time.After(electionPause):
		case <-ctx.Done():
		}
	}
}

// waitReady returns when the server takes connections and has recovered its
// streams.
func (n *Node) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !n.srv.ReadyForConnections(100 * time.Millisecond) {
		if ctx.Err() != nil {
			return fmt.Errorf("store: the embedded server did not start: %w", ctx.Err())
		}
		if !n.srv.Running() {
			return errors.New("store: the embedded server stopped while starting; its log has the reason")
		}
	}
	if !n.srv.JetStreamEnabled() {
		return errors.New("store: the embedded server did not enable JetStream; its log has the reason")
	}
	return nil
}

// JetStream returns the node's JetStream, valid until Close.
func (n *Node) JetStream() jetstream.JetStream { return n.js }

// Space is the room of a store on disk, in bytes.
type Space struct {
	Used  int64
	Limit int64 // 0 where there is none, or it is not known
}

// Space asks how much room the store takes, and how much it may take.
func (n *Node) Space(ctx context.Context) (Space, error) {
	info, err := n.js.AccountInfo(ctx)
	if err != nil {
		return Space{}, fmt.Errorf("store: %w", err)
	}
	s := Space{Used: int64(info.Store), Limit: max(info.Limits.MaxStore, 0)}
	if s.Limit == 0 && n.srv != nil {
		if config := n.srv.JetStreamConfig(); config != nil {
			s.Limit = max(config.MaxStore, 0)
		}
	}
	return s, nil
}

// Close stops the server, waits until its files are closed, and releases the
// data directory. Queues and stores over this node must be closed before. When
// the context ends first, the server goes on stopping and the directory stays
// locked until the process ends.
func (n *Node) Close(ctx context.Context) error {
	if n.heads != nil {
		if err := n.heads.close(); err != nil {
			n.heads.log.Error("the newest revisions cannot be written down", "error", err)
		}
		n.heads = nil
	}
	if n.conn != nil {
		n.conn.Close()
	}
	if n.srv != nil {
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			n.srv.Shutdown()
			n.srv.WaitForShutdown()
		}()
		select {
		case <-stopped:
		case <-ctx.Done():
			return fmt.Errorf("store: stopping the embedded server: %w", ctx.Err())
		}
	}
	if n.lock != nil {
		if err := n.lock.Close(); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		n.lock = nil
	}
	return nil
}

// defaultMaxStore returns the bytes dir holds plus nine tenths of those free.
func defaultMaxStore(dir string) (int64, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return 0, err
	}
	var used int64
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		used += info.Size()
		return nil
	})
	if err != nil {
		return 0, err
	}
	return used + free/10*9, nil
}

// serverLog writes the server's messages to slog. The server calls Fatalf
// before it stops by itself; that is an error to this process, not an exit.
type serverLog struct {
	log *slog.Logger
}

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

func (l serverLog) Errorf(format string, v ...any) {
	// Another server that is not there yet, or no more, is nothing to repair here.
	if strings.HasPrefix(format, "Error trying to connect to route") {
		l.log.Info(fmt.Sprintf(format, v...))
		return
	}
	l.log.Error(fmt.Sprintf(format, v...))
}

func (l serverLog) Warnf(format string, v ...any) {
	// The server discourages payloads over 8 MiB at every start, and ours exceed
	// that by the headroom alone; and secrets that are not hashed, which it gets
	// from this process and not from a file of its own.
	if strings.HasPrefix(format, "Maximum payloads over") || strings.HasPrefix(format, "Plaintext passwords") {
		return
	}
	l.log.Warn(fmt.Sprintf(format, v...))
}
