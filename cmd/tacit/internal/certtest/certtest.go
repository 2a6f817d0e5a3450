// Package certtest makes certificates and keys for tests.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

// Authority is a certificate authority.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority and writes its certificate to a file.
func NewAuthority(path string) (*Authority, error) {
	a := new(Authority)
	return a, a.make(path, "", &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority " + path}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
}

// make makes a certificate, the authority's own if it has none yet.
func (a *Authority) make(certPath, keyPath string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return err
	}
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		a.key = key
	}
	if err := writePEM(certPath, "CERTIFICATE", der); err != nil || keyPath == "" {
		return err
	}
	return writeKey(keyPath, key)
}

// Server writes a certificate for 127.0.0.1 and tacit.example, and its key.
func (a *Authority) Server(certPath, keyPath string) error {
	return a.make(certPath, keyPath, &x509.Certificate{
		Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"tacit.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// Member writes a certificate for both sides of a connection to 127.0.0.1, and its key.
func (a *Authority) Member(certPath, keyPath string) error {
	return a.make(certPath, keyPath, &x509.Certificate{
		Subject: pkix.Name{CommonName: "member"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

// Client writes a certificate of the subject CN=name,O=Test, and its key. It has
// expired if that is asked for.
func (a *Authority) Client(certPath, keyPath, name string, expired bool) error {
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{"Test"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if expired {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
	}
	return a.make(certPath, keyPath, c)
}

// Signing writes an Ed25519 key and its public key.
func Signing(privatePath, publicPath string) error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	if err := writePEM(publicPath, "PUBLIC KEY", der); err != nil {
		return err
	}
	return writeKey(privatePath, private)
}

func writeKey(path string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
