// Package client calls a coprocessor over gRPC. It sends keys and ciphertexts in
// chunks, checks the digest of everything it fetches, tries again where the
// service says that it may, and turns statuses into errors with a reason and a
// place. It holds no key and decrypts nothing.
package client

import (
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/tacit-fhe/tacit/coprocessor/signature"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const (
	// ChunkSize is the size of the chunks of uploads in bytes.
	ChunkSize = 1 << 20
	// MaxRecord bounds the encoding of one ciphertext that is fetched, in bytes.
	MaxRecord = 8 << 20

	// maxMessage bounds one received message: a job with the reports of all its
	// nodes, or a chunk.
	maxMessage = 16 << 20
)

// Options configures Dial. The zero value is ready to use.
type Options struct {
	// InsecurePlaintext allows connections without TLS to other machines.
	// Whoever can see them learns what is computed, though not on which
	// plaintexts, and can change it.
	InsecurePlaintext bool
	// TLS encrypts the connection, and with a client certificate says who we
	// are; see TLSFiles. Nil is plain text.
	TLS *tls.Config
	// Token is a bearer token that says who we are. It is not sent to another
	// machine without TLS, whatever InsecurePlaintext says.
	Token string
	// Signer is an Ed25519 key that signs every call, instead of a token.
	Signer crypto.Signer
	// Audience is the name of the service in signed calls; empty means
	// signature.DefaultAudience.
	Audience string
	// Attempts is how often a call is tried in all; 0 means 5.
	Attempts int
}

// Client is a connection to a coprocessor, safe for concurrent use.
type Client struct {
	target   string
	conn     *grpc.ClientConn
	service  tacitv1.CoprocessorClient
	admin    tacitv1.AdminClient
	attempts int
	identity identity
}

// InsecureError refuses to talk to another machine without TLS.
type InsecureError struct {
	Target string
}

func (e *InsecureError) Error() string {
	return fmt.Sprintf("%s is not a loopback address, and the connection is not encrypted", e.Target)
}

// OptionsError reports options that exclude each other.
type OptionsError struct {
	Reason string
}

func (e *OptionsError) Error() string { return "client: " + e.Reason }

// Dial prepares a client of the coprocessor at target, a host and a port. It does
// not connect yet: the first call does. The error is an *InsecureError, an
// *OptionsError or says what is wrong with target.
func Dial(target string, opts Options) (*Client, error) {
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, fmt.Errorf("client: %q is not of the form host:port", target)
	}
	switch plain := opts.TLS == nil && !loopback(host); {
	case opts.Token != "" && opts.Signer != nil:
		return nil, &OptionsError{"calls are signed or have a token, not both"}
	case plain && (!opts.InsecurePlaintext || opts.Token != ""):
		return nil, &InsecureError{target}
	}
	transport := insecure.NewCredentials()
	if opts.TLS != nil {
		transport = credentials.NewTLS(opts.TLS)
	}
	who := identity{token: opts.Token, signer: opts.Signer, audience: opts.Audience}
	if who.audience == "" {
		who.audience = signature.DefaultAudience
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(transport),
		grpc.WithUnaryInterceptor(who.unary),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c := &Client{target: target, conn: conn, service: tacitv1.NewCoprocessorClient(conn), admin: tacitv1.NewAdminClient(conn), attempts: opts.Attempts, identity: who}
	if c.attempts == 0 {
		c.attempts = 5
	}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Info asks what the service is and which limits it enforces.
func (c *Client) Info(ctx context.Context) (*tacitv1.GetInfoResponse, error) {
	return retry(ctx, c, func() (*tacitv1.GetInfoResponse, error) {
		return c.service.GetInfo(ctx, &tacitv1.GetInfoRequest{})
	})
}
