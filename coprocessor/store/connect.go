package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// ConnectOptions configures Connect. Only URLs is required.
type ConnectOptions struct {
	// URLs are those of servers of one cluster, such as nats://host:4222. Those
	// that they know of are found.
	URLs []string
	// Replicas is how many servers keep each record, at least; zero means 1.
	Replicas int
	// Secret is that of the embedded servers that are connected to.
	Secret string
	// Creds is a file of credentials as NATS makes them.
	Creds string
	// TLS encrypts the connection; nil leaves that to the URLs.
	TLS *tls.Config
	// Log receives what happens to the connection; nil discards it.
	Log *slog.Logger
}

// UnreachableError reports servers none of which can be connected to.
type UnreachableError struct {
	Servers string // without passwords
	Err     error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("store: no server can be reached at %s: %v", e.Servers, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// PayloadError reports servers that take no messages as large as records.
type PayloadError struct {
	Have, Want int64 // bytes
}

func (e *PayloadError) Error() string {
	return fmt.Sprintf("store: the servers take messages of at most %d bytes, %d are needed", e.Have, e.Want)
}

const (
	connectTimeout = 5 * time.Second
	reconnectPause = 250 * time.Millisecond
)

// Connect connects to the servers of an external JetStream, which must sync every
// write to disk before they acknowledge it (sync_interval: always) and take
// messages of MaxRecord and some more bytes. The context bounds the start only.
// While the servers are away, calls fail; the connection comes back by itself.
func Connect(ctx context.Context, opts ConnectOptions) (_ *Node, err error) {
	if len(opts.URLs) == 0 || opts.Replicas < 0 {
		return nil, fmt.Errorf("store: %d servers, %d replicas", len(opts.URLs), opts.Replicas)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	log := opts.Log.With("component", "nats")
	dial := []nats.Option{
		nats.Name(account), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectPause), nats.ReconnectJitter(reconnectPause, reconnectPause),
		nats.Timeout(connectTimeout),
		nats.ReconnectBufSize(-1), // what is asked while there is no connection fails at once
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to the store is lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("connected to the store again", "server", c.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Debug("nats", "error", err) }),
	}
	if opts.Secret != "" {
		dial = append(dial, nats.UserInfo(account, opts.Secret))
	}
	if opts.Creds != "" {
		dial = append(dial, nats.UserCredentials(opts.Creds))
	}
	if opts.TLS != nil {
		dial = append(dial, nats.Secure(opts.TLS))
	}
	n := &Node{}
	if n.conn, err = nats.Connect(strings.Join(opts.URLs, ","), dial...); err != nil {
		return nil, &UnreachableError{Servers: redacted(opts.URLs), Err: err}
	}
	if err := n.open(ctx, buckets{replicas: max(opts.Replicas, 1)}, log); err != nil {
		return nil, errors.Join(err, n.Close(context.WithoutCancel(ctx)))
	}
	return n, nil
}

// redacted lists URLs without their passwords.
func redacted(urls []string) string {
	out := make([]string, len(urls))
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			out[i] = "?"
			continue
		}
		out[i] = u.Redacted()
	}
	return strings.Join(out, ", ")
}
