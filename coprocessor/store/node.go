package store

import (
	"context"
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

	startTimeout = 30 * time.Second
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

	// Log receives the server's messages; nil discards them.
	Log *slog.Logger
}

// Node is a JetStream server inside this process. It listens on no socket.
type Node struct {
	srv  *server.Server
	conn *nats.Conn
	js   jetstream.JetStream
	lock *os.File
}

// Embedded starts a JetStream server over a data directory and connects to it
// in-process. Every write is synced to disk before it is acknowledged. The
// context bounds the start only. A directory that another process has open
// gives *LockedError.
func Embedded(ctx context.Context, opts EmbeddedOptions) (_ *Node, err error) {
	if opts.Dir == "" {
		return nil, errors.New("store: no data directory given")
	}
	if opts.MaxStore < 0 {
		return nil, fmt.Errorf("store: MaxStore is %d", opts.MaxStore)
	}
	data := filepath.Join(opts.Dir, "jetstream")
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

	if opts.MaxStore == 0 {
		opts.MaxStore, err = defaultMaxStore(opts.Dir)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	n.srv, err = server.NewServer(&server.Options{
		ServerName:             "tacit",
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      opts.MaxStore,
		StoreDir:               opts.Dir,
		SyncAlways:             true,
		MaxPayload:             MaxRecord + headroom,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n.srv.SetLoggerV2(serverLog{log.With("component", "jetstream")}, false, false, false)
	n.srv.Start()
	if err := n.waitReady(ctx); err != nil {
		return nil, err
	}

	n.conn, err = nats.Connect("", nats.InProcessServer(n.srv), nats.Name("tacit"), nats.MaxReconnects(-1))
	if err != nil {
		return nil, fmt.Errorf("store: connecting to the embedded server: %w", err)
	}
	n.js, err = jetstream.New(n.conn)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return n, nil
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

// Close stops the server, waits until its files are closed, and releases the
// data directory. Queues and stores over this node must be closed before. When
// the context ends first, the server goes on stopping and the directory stays
// locked until the process ends.
func (n *Node) Close(ctx context.Context) error {
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
func (l serverLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }

func (l serverLog) Warnf(format string, v ...any) {
	// The server discourages payloads over 8 MiB at every start. Ours exceed
	// that by the headroom alone, and no other client is connected.
	if strings.HasPrefix(format, "Maximum payloads over") {
		return
	}
	l.log.Warn(fmt.Sprintf(format, v...))
}
