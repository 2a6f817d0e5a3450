package receipt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

func testKey(label string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(label))
	return ed25519.NewKeyFromSeed(seed[:])
}

func statement() Statement {
	return Statement{
		JobID: "job-1", SpecDigest: [32]byte{1}, KeyID: [32]byte{2}, Fingerprint: [32]byte{3},
		EngineVersion: "v1.2.3", Backend: "avx512",
		Inputs:  []Item{{[32]byte{4}, [32]byte{5}}, {[32]byte{6}, [32]byte{7}}},
		Outputs: []Item{{[32]byte{8}, [32]byte{9}}},
	}
}

func sign(t testing.TB) *Receipt {
	t.Helper()
	r, err := Sign(statement(), testKey("service"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	for name, s := range map[string]Statement{"full": statement(), "empty": {}} {
		r, err := Sign(s, testKey("service"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(r.Encode())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if err := got.Verify(PublicKey(testKey("service"))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEncoding pins the encoding: receipts outlive the program that made them.
func TestEncoding(t *testing.T) {
	data := sign(t).Encode()
	if want := 4 + 16 + 4 + 5 + 3*32 + 4 + 6 + 4 + 6 + 32 + 4 + 2*64 + 4 + 64 + 64; len(data) != want {
		t.Errorf("%d bytes, want %d", len(data), want)
	}
	digest := sha256.Sum256(data)
	if got, want := hex.EncodeToString(digest[:]), "e36807ed2c9fdaa04dd7f742efa11503513974e918f9598775f3be9f9fc1abbe"; got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if !bytes.HasPrefix(data, []byte("\x00\x00\x00\x10tacit/v1/receipt\x00\x00\x00\x05job-1\x01\x00")) {
		t.Errorf("begins with %q", data[:40])
	}
}

// TestTampered flips every bit of a receipt: either it is no receipt any more, or
// its signature does not hold.
func TestTampered(t *testing.T) {
	data := sign(t).Encode()
	service := PublicKey(testKey("service"))
	for i := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		r, err := Decode(bad)
		if err == nil {
			if !bytes.Equal(r.Encode(), bad) {
				t.Fatalf("bit %d: two encodings of one receipt", i)
			}
			if err = r.Verify(service); !errors.As(err, new(*SignatureError)) {
				t.Fatalf("bit %d: %v", i, err)
			}
		} else if !errors.As(err, new(*FormError)) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for n := range data {
		if _, err := Decode(data[:n]); !errors.As(err, new(*FormError)) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := Decode(append(bytes.Clone(data), 0)); err == nil || !strings.Contains(err.Error(), "end") {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestWrongService(t *testing.T) {
	other := testKey("other")
	var e *SignatureError
	if err := sign(t).Verify(PublicKey(other)); !errors.As(err, &e) || e.Signer != PublicKey(testKey("service")) {
		t.Errorf("another service's receipt: %v", err)
	}
	// A forger who names the service and signs with another key.
	forged := sign(t)
	copy(forged.Signature[:], ed25519.Sign(other, forged.statement()))
	if err := forged.Verify(PublicKey(testKey("service"))); !errors.As(err, &e) {
		t.Errorf("a forged receipt: %v", err)
	}
}

func TestLimits(t *testing.T) {
	for name, change := range map[string]func(*Statement){
		"job id":         func(s *Statement) { s.JobID = strings.Repeat("x", maxText+1) },
		"engine version": func(s *Statement) { s.EngineVersion = strings.Repeat("x", maxText+1) },
		"backend":        func(s *Statement) { s.Backend = strings.Repeat("x", maxText+1) },
		"items":          func(s *Statement) { s.Inputs = make([]Item, maxItems+1) },
	} {
		s := statement()
		change(&s)
		var e *FormError
		if _, err := Sign(s, testKey("service")); !errors.As(err, &e) || e.Place != name {
			t.Errorf("%s: %v", name, err)
		}
		big := &Receipt{Statement: s}
		if _, err := Decode(big.Encode()); !errors.As(err, &e) {
			t.Errorf("%s: decoded: %v", name, err)
		}
	}
	largest := Statement{Inputs: make([]Item, maxItems), Outputs: make([]Item, maxItems), JobID: strings.Repeat("x", maxText)}
	r, err := Sign(largest, testKey("service"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(r.Encode()); err != nil {
		t.Errorf("the largest receipt: %v", err)
	}
	if _, err := Decode(make([]byte, MaxSize+1)); err == nil {
		t.Error("more bytes than are allowed")
	}
}

func FuzzDecode(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 16})
	f.Add(sign(f).Encode())
	f.Add((&Receipt{}).Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			if !errors.As(err, new(*FormError)) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		if !bytes.Equal(r.Encode(), data) {
			t.Fatal("two encodings of one receipt")
		}
	})
}

// FuzzParseKey feeds the reader of files of signing keys.
func FuzzParseKey(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 128 << 10, PerByte: 16})
	der, err := x509.MarshalPKCS8PrivateKey(testKey("service"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der, true)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), false)
	f.Fuzz(func(t *testing.T, data []byte, wrap bool) {
		if wrap {
			data = pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: data})
		}
		if key, reason := parseKey(data); (key == nil) == (reason == "") || key != nil && len(key) != ed25519.PrivateKeySize {
			t.Errorf("a key of %d bytes, %q", len(key), reason)
		}
	})
}

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "service.key")
	key, err := LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadKey(path)
	if err != nil || !key.Equal(again) {
		t.Errorf("the key changed: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if other, err := LoadKey(filepath.Join(dir, "other.key")); err != nil || other.Equal(key) {
		t.Errorf("two services with one key: %v", err)
	}
	if _, err := LoadKey(filepath.Join(dir, "none", "service.key")); err == nil {
		t.Error("a directory that is absent")
	}

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": nil, "text": []byte("no key"), "cut": whole[:len(whole)/2], "two": append(bytes.Clone(whole), whole...),
		"type":  pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"der":   pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte{1}}),
		"ecdsa": pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}),
	} {
		bad := filepath.Join(dir, name)
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var e *KeyError
		if _, err := LoadKey(bad); !errors.As(err, &e) || e.Path != bad {
			t.Errorf("%s: %v", name, err)
		}
		if now, _ := os.ReadFile(bad); !bytes.Equal(now, content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}
