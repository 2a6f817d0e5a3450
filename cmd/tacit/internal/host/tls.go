package host

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tacit-fhe/tacit/coprocessor/reload"
)

// TLSFiles names the files, in PEM, of a server that speaks TLS 1.3. They are read
// again when they change, for the connections that follow.
type TLSFiles struct {
	// Cert and Key are the certificate of the server, with those between it and
	// its authority, and its key.
	Cert, Key string
	// ClientCA has the authorities of client certificates, which every
	// connection then needs; empty asks for none.
	ClientCA string
}

// TLSError reports files that TLS cannot be spoken with.
type TLSError struct {
	Path string
	Err  error
}

func (e *TLSError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }

func (e *TLSError) Unwrap() error { return e.Err }

// read makes a configuration of the files as they are.
func (f TLSFiles) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		if errors.As(err, new(*os.PathError)) {
			return nil, err
		}
		return nil, &TLSError{f.Cert + " and " + f.Key, err}
	}
	c := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"h2"},
		// Connections last; one that is resumed would not be checked anew.
		SessionTicketsDisabled: true,
	}
	if f.ClientCA == "" {
		return c, nil
	}
	data, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, err
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(data) {
		return nil, &TLSError{f.ClientCA, errors.New("no certificate in PEM")}
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// credentials returns what makes a gRPC server speak TLS. Files that are wrong
// now are an error; where they are wrong later, what they said before stays, and
// the log says so.
func (f TLSFiles) credentials(log *slog.Logger) (grpc.ServerOption, error) {
	paths := []string{f.Cert, f.Key}
	if f.ClientCA != "" {
		paths = append(paths, f.ClientCA)
	}
	failed := func(err error) { log.Error("certificates not read again, those before stay", "error", err) }
	load := func() (*tls.Config, error) {
		c, err := f.read()
		if err == nil {
			leaf := c.Certificates[0].Leaf
			log.Info("certificates read", "file", f.Cert, "subject", leaf.Subject.String(), "expires", leaf.NotAfter)
		}
		return c, err
	}
	current, err := reload.Open(load, failed, paths...)
	if err != nil {
		return nil, err
	}
	c := current.Get().Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Get(), nil }
	return grpc.Creds(credentials.NewTLS(c)), nil
}
