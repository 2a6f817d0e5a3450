package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// FuzzSettings feeds the parser of configuration files.
func FuzzSettings(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add([]byte("# comment\nlisten = :7400\n\ndata=/var/lib/tacit\n"))
	f.Add([]byte("a\n"))
	f.Add([]byte("a=1\na=2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := make(map[string]bool)
		parseSettings(data, func(name, _ string) error {
			if names[name] {
				t.Errorf("%q was set twice", name)
			}
			names[name] = true
			return nil
		})
	})
}

// FuzzCredentials feeds the readers of files of tokens and of keys that sign, in PEM of either kind.
func FuzzCredentials(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 128 << 10, PerByte: 32})
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	kinds := []string{"", "PRIVATE KEY", "PUBLIC KEY"}
	f.Add([]byte("tacit_abc\n"), byte(0))
	f.Add(private, byte(1))
	f.Add(public, byte(2))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: kinds[2], Bytes: public}), byte(0))
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		if kind := kinds[int(kind)%len(kinds)]; kind != "" {
			data = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
		}
		if token, err := parseToken(data); err == nil && strings.ContainsAny(token, " \r\n\x00") {
			t.Errorf("the token %q", token)
		}
		if key, err := parseSigningKey(data); err == nil && len(key.Public().(ed25519.PublicKey)) != ed25519.PublicKeySize {
			t.Error("a private key of another size")
		}
		if text, err := parsePublicKey(data); err == nil && len(text) != 2*ed25519.PublicKeySize {
			t.Errorf("the public key %q", text)
		}
	})
}

// FuzzParseProgram feeds the reader of files of programs, text or JSON.
func FuzzParseProgram(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 1000})
	f.Add([]byte("param a: euint8\nparam b: plain euint8\nx = add(a, b)\noutput x\n"))
	f.Add([]byte(`{"name": "p", "parameters": [{"name": "a", "type": "TYPE_EUINT8"}], "nodes": [{"op": "OP_NOT", "inputs": [{"parameter": 0}]}], "outputs": [{"node": 0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseProgram(data, "p")
		if (p == nil) == (err == nil) {
			t.Errorf("%v, %v", p, err)
		}
		parseServiceKey(string(data))
	})
}
