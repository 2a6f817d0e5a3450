package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"strings"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// StoreConfig says where the store of a coprocessor is: the servers at URLs; or one
// inside this process, over a directory, that is a member of a cluster if it has a
// name. The zero value is one that stands alone and that no other process reaches.
type StoreConfig struct {
	// URLs are those of external servers, such as nats://host:4222.
	URLs []string
	// Creds is a file of credentials for them.
	Creds string
	// CA, Cert and Key name files in PEM: the authorities of the other side's
	// certificate, our certificate and its key. Servers and clients of an embedded
	// server show each other theirs.
	CA, Cert, Key string
	// SecretFile has the secret that embedded servers and those who connect to
	// them share.
	SecretFile string
	// Replicas is how many servers keep each record; zero is 3 for members of a
	// cluster, else 1.
	Replicas int
	// Listen is the host and port where the embedded server is reached.
	Listen string
	// Node is the name of the embedded server in its cluster, ClusterListen where
	// the other members reach it, and Peers where it reaches them.
	Node          string
	ClusterListen string
	Peers         []string
}

// StoreConfigError reports settings of the store that do not go together.
type StoreConfigError struct {
	Reason string
}

func (e *StoreConfigError) Error() string { return e.Reason }

// Shared says that other processes may reach the store.
func (c *StoreConfig) Shared() bool { return len(c.URLs) > 0 || c.Node != "" || c.Listen != "" }

// Check returns a *StoreConfigError for settings that do not go together. They are
// named by the flags of the command line.
func (c *StoreConfig) Check() error {
	embedded := c.Node != "" || c.ClusterListen != "" || len(c.Peers) > 0 || c.Listen != ""
	for _, bad := range []struct {
		is     bool
		reason string
	}{
		{len(c.URLs) > 0 && embedded, "--nats-url is for servers elsewhere: it excludes --node, --cluster-listen, --peers and --nats-listen"},
		{(c.Node == "") != (c.ClusterListen == "") || (c.Node == "") != (len(c.Peers) == 0), "--node, --cluster-listen and --peers go together"},
		{embedded && c.SecretFile == "", "servers that others reach need --nats-secret-file"},
		{c.Creds != "" && len(c.URLs) == 0, "--nats-creds needs --nats-url"},
		{c.SecretFile != "" && !c.Shared(), "--nats-secret-file needs --nats-url, --nats-listen or --node"},
		{(c.Cert == "") != (c.Key == ""), "--nats-cert and --nats-key go together"},
		{embedded && (c.Cert == "") != (c.CA == ""), "servers that others reach need --nats-ca, --nats-cert and --nats-key, or none of them"},
		{c.Replicas < 0, "--replicas is not negative"},
		{c.Replicas > 1 && len(c.URLs) == 0 && c.Node == "", "a server that stands alone keeps one replica"},
	} {
		if bad.is {
			return &StoreConfigError{bad.reason}
		}
	}
	return nil
}

// Open opens the store, with its embedded server over dir.
func (c *StoreConfig) Open(ctx context.Context, dir string, log *slog.Logger) (*store.Node, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	encrypted, err := c.tls()
	if err != nil {
		return nil, err
	}
	if len(c.URLs) > 0 {
		return store.Connect(ctx, store.ConnectOptions{
			URLs: c.URLs, Replicas: c.Replicas, Secret: secret, Creds: c.Creds, TLS: encrypted, Log: log,
		})
	}
	o := store.EmbeddedOptions{Dir: dir, Replicas: c.Replicas, Listen: c.Listen, TLS: encrypted, Secret: secret, Log: log}
	if c.Node != "" {
		o.Member = &store.Member{Name: c.Node, Listen: c.ClusterListen, Peers: c.Peers, TLS: encrypted}
	}
	return store.Embedded(ctx, o)
}

// minSecret is the least length of a secret in bytes.
const minSecret = 16

func (c *StoreConfig) secret() (string, error) {
	if c.SecretFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.SecretFile)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < minSecret || strings.ContainsAny(secret, " \r\n") {
		return "", &StoreConfigError{c.SecretFile + " does not hold one line of at least 16 characters"}
	}
	return secret, nil
}

// tls makes a configuration for both sides of a connection, or nil without files.
func (c *StoreConfig) tls() (*tls.Config, error) {
	if c.CA == "" && c.Cert == "" {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CA != "" {
		data, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(data) {
			return nil, &TLSError{c.CA, errors.New("no certificate in PEM")}
		}
		out.ClientCAs, out.ClientAuth = out.RootCAs, tls.RequireAndVerifyClientCert
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			if errors.As(err, new(*os.PathError)) {
				return nil, err
			}
			return nil, &TLSError{c.Cert, err}
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
