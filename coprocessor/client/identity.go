package client

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/signature"
)

// TLSFiles names the files of a TLS connection. All fields may be empty.
type TLSFiles struct {
	// CA has the certificates, in PEM, of the authorities that the service's
	// certificate must come from; empty means those of the system.
	CA string
	// Cert and Key are our own certificate and its key in PEM.
	Cert, Key string
	// ServerName is the name that the service's certificate must have; empty
	// means the host that is called.
	ServerName string
}

// Config reads the files. The connection is TLS 1.3.
func (f TLSFiles) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: f.ServerName}
	if f.CA != "" {
		data, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%s: no certificate in PEM", f.CA)
		}
	}
	if f.Cert != "" || f.Key != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s: %w", f.Cert, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// identity says who we are with every call.
type identity struct {
	token    string
	signer   crypto.Signer
	audience string
}

// unary adds our identity to a call.
func (i identity) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	message, ok := req.(proto.Message)
	if !ok {
		return &OptionsError{fmt.Sprintf("a request of type %T", req)}
	}
	ctx, err := i.stream(ctx, method, message)
	if err != nil {
		return err
	}
	return call(ctx, method, req, reply, conn, opts...)
}

// stream adds our identity to a stream with its first message.
func (i identity) stream(ctx context.Context, method string, first proto.Message) (context.Context, error) {
	switch {
	case i.token != "":
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+i.token), nil
	case i.signer == nil:
		return ctx, nil
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(first)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	s, err := signature.Sign(i.signer, signature.Call{Audience: i.audience, Method: method, Digest: sha256.Sum256(data)}, time.Now())
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", s.String()), nil
}
