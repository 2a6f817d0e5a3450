package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

var testKeys = sync.OnceValue(func() *fhe.KeySet {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		panic(err)
	}
	backend, err := cpu.New()
	if err != nil {
		panic(err)
	}
	keys, err := fhe.GenerateKeys(context.Background(), p, [32]byte{1}, backend, nil)
	if err != nil {
		panic(err)
	}
	return keys
})

// files writes one file of each kind and returns their folder.
func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte, err error) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	keys := testKeys()
	p, id := keys.Secret.Parameters(), keys.Secret.ID()

	secret, err := keys.Secret.MarshalBinary()
	if err == nil {
		err = keyfile.Write(filepath.Join(dir, "secret.key"), secret, keyfile.Meta{KeyID: id}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public.MarshalBinary()
	write("public.key", public, err)
	var evaluation bytes.Buffer
	_, err = keys.Evaluation.WriteTo(&evaluation)
	write("evaluation.key", evaluation.Bytes(), err)

	fresh, err := integer.Encrypt(p, id, keys.Secret, [32]byte{2}, integer.Plain(integer.Uint8, 200), integer.Plain(integer.Bool, 1))
	if err != nil {
		t.Fatal(err)
	}
	data, err := fresh.MarshalBinary()
	write("fresh.ct", data, err)
	trivial := &integer.Value{Type: integer.Bool, Blocks: []fhe.LWE{p.Trivial(1)}}
	data, err = integer.NewList(p, id, fresh.Value(0), trivial).MarshalBinary()
	write("computed.ct", data, err)
	write("text.job", []byte("a = add(x, 1)\nb = not(a)\noutput b\n"), nil)
	write("json.job", []byte(`{"nodes": [{"op": "OP_TRIVIAL_ENCRYPT", "type": "TYPE_EUINT8", "inputs": [{"scalar": "BQ=="}]}, {}], "outputs": [{"node": 0}]}`), nil)
	return dir
}

func TestFile(t *testing.T) {
	dir := files(t)
	sk := testKeys().Secret
	for name, kind := range map[string]Kind{
		"secret.key": SecretKey, "public.key": PublicKey, "evaluation.key": EvaluationKey,
		"fresh.ct": Ciphertexts, "computed.ct": Ciphertexts, "text.job": Job, "json.job": Job,
	} {
		path := filepath.Join(dir, name)
		r, err := File(path, Options{SecretKey: sk})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind != kind || r.Size != int64(len(data)) || r.Digest != fmt.Sprintf("%x", sha256.Sum256(data)) {
			t.Errorf("%s: %+v", name, r)
		}
		if kind != Job && (r.KeyID != sk.ID().String() || r.Parameters.Name != fhe.TestPreset || !r.Parameters.TestOnly) {
			t.Errorf("%s: key %s, parameters %+v", name, r.KeyID, r.Parameters)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if bytes.Contains(text, []byte("TACIT-SECRET")) {
			t.Errorf("%s: the report holds the key", name)
		}
	}
}

func TestValues(t *testing.T) {
	dir := files(t)
	keys := testKeys()
	p := keys.Secret.Parameters()
	r, err := File(filepath.Join(dir, "fresh.ct"), Options{SecretKey: keys.Secret})
	if err != nil {
		t.Fatal(err)
	}
	if r.Values.Form != "secret-key" || len(r.Values.Values) != 2 || len(r.Values.Values[0].Blocks) != 4 {
		t.Fatalf("%+v", r.Values)
	}
	v := r.Values.Values[0]
	if *v.Log2Variance != math.Log2(p.FreshVariance()) || v.Log2Failure != p.FailureProbability(p.FreshVariance()) || v.Type != "euint8" {
		t.Errorf("%+v", v)
	}
	// TUniform(3): the error is an integer in [-8, 8].
	for _, b := range v.Blocks {
		e := b.Measured.Error * float64(p.Modulus())
		if math.Abs(e) > 8.001 || math.Abs(e-math.Round(e)) > 1e-3 || math.Abs(b.Measured.Sigmas) > 3 || b.Measured.MarginBits < 37 || b.Max != 3 {
			t.Errorf("%+v: error %v", b, e)
		}
	}

	r, err = File(filepath.Join(dir, "computed.ct"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	trivial := r.Values.Values[1]
	if r.Values.Form != "computed" || trivial.Log2Variance != nil || trivial.Blocks[0].Measured != nil || math.IsInf(trivial.Log2Failure, 0) {
		t.Errorf("%+v", r.Values)
	}

	other, err := fhe.GenerateKeys(t.Context(), p, [32]byte{9}, must(cpu.New()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := File(filepath.Join(dir, "fresh.ct"), Options{SecretKey: other.Secret}); !errors.As(err, new(*KeyError)) {
		t.Errorf("another key: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestJobs(t *testing.T) {
	dir := files(t)
	r, err := File(filepath.Join(dir, "text.job"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(*r.Job); got != "{false  [x] [{a add} {b not}] [b]}" {
		t.Errorf("got %s", got)
	}
	r, err = File(filepath.Join(dir, "json.job"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Job.SpecDigest) != 64 || r.Job.Nodes[0].Op != "trivial_encrypt" || r.Job.Nodes[1].Op != "none" || !r.Job.JSON {
		t.Errorf("got %+v", r.Job)
	}
}

func TestProtected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	data := must(testKeys().Secret.MarshalBinary())
	if err := keyfile.Write(path, data, keyfile.Meta{}, []byte("right")); err != nil {
		t.Fatal(err)
	}
	r, err := File(path, Options{})
	if err != nil || !r.SecretKey.Protected || r.SecretKey.Opened || r.KeyID != "" {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = File(path, Options{Passphrase: func() ([]byte, error) { return []byte("right"), nil }})
	if err != nil || !r.SecretKey.Protected || !r.SecretKey.Opened || r.KeyID != testKeys().Secret.ID().String() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDamaged(t *testing.T) {
	dir := files(t)
	for _, name := range []string{"public.key", "evaluation.key", "fresh.ct", "computed.ct"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "damaged")
		for _, n := range []int{6, codec.HeaderSize, len(data) / 2, len(data) - 1} {
			if err := os.WriteFile(path, data[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			var e *codec.TruncatedError
			if _, err := File(path, Options{}); !errors.As(err, &e) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := File(path, Options{}); err == nil {
			t.Errorf("%s with a flipped bit was accepted", name)
		}
	}
}

func TestDetect(t *testing.T) {
	cut := strings.Repeat("x", headSize-1) + "é"[:1] // a character at the end of the head
	for head, want := range map[string]Kind{
		"# created: now\nTACIT-SECRET-KEY-1abc\n": SecretKey,
		"-----BEGIN AGE ENCRYPTED FILE-----\n":    SecretKey,
		"a = add(b, c)\n":                         Job,
		" {}":                                     Job,
		cut:                                       Job,
	} {
		if got, err := Detect([]byte(head)); got != want || err != nil {
			t.Errorf("%.40q: %q, %v", head, got, err)
		}
	}
	for head, want := range map[string]error{"": ErrEmpty, "\x00\x01": ErrUnknown, "caf\xe9": ErrUnknown, "a\x1b[31m": ErrUnknown} {
		if _, err := Detect([]byte(head)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", head, err, want)
		}
	}
	if _, err := Detect([]byte("TACIT\x02")); !errors.As(err, new(*codec.VersionError)) {
		t.Errorf("version 2: %v", err)
	}
	if _, err := Detect([]byte("TACIT")); !errors.As(err, new(*codec.TruncatedError)) {
		t.Errorf("magic alone: %v", err)
	}
}
