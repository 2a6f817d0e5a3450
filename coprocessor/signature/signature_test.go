package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

func testKey(label string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(label))
	return ed25519.NewKeyFromSeed(seed[:])
}

var testCall = Call{Audience: "a", Method: "/s/M", Digest: sha256.Sum256([]byte("request"))}

func TestSign(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_123)
	s, err := Sign(testKey("k"), testCall, now.Add(999*time.Microsecond))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Verify(testCall) || !s.Time.Equal(now) {
		t.Fatal("a signature does not verify")
	}
	again, err := Parse(s.String())
	if err != nil || again != s {
		t.Fatalf("%v, %v", again, err)
	}
	for name, c := range map[string]Call{
		"audience": {"b", testCall.Method, testCall.Digest},
		"method":   {"a", "/s/N", testCall.Digest},
		"digest":   {"a", "/s/M", sha256.Sum256([]byte("another"))},
		"shifted":  {"a\x00\x00\x00\x04", "/s/M", testCall.Digest},
	} {
		if s.Verify(c) {
			t.Errorf("the signature covers no %s", name)
		}
	}
	for name, change := range map[string]func(*Signature){
		"time":      func(s *Signature) { s.Time = s.Time.Add(time.Millisecond) },
		"nonce":     func(s *Signature) { s.Nonce[3] ^= 1 },
		"key":       func(s *Signature) { s.Key = [32]byte(testKey("other").Public().(ed25519.PublicKey)) },
		"signature": func(s *Signature) { s.bytes[0] ^= 1 },
	} {
		changed := s
		change(&changed)
		if changed.Verify(testCall) {
			t.Errorf("another %s verifies", name)
		}
	}
	other, err := Sign(testKey("k"), testCall, now)
	if err != nil || other.Nonce == s.Nonce {
		t.Errorf("the same nonce again, %v", err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(ec, testCall, now); err == nil {
		t.Error("signed with a key of another kind")
	}
}

// TestMessage fixes the bytes that are signed.
func TestMessage(t *testing.T) {
	got := hex.EncodeToString(Call{"a", "/s/M", [32]byte{31: 9}}.message(258, [NonceSize]byte{7}))
	want := "74616369742f76312f63616c6c00" + "0000000161" + "000000042f732f4d" + "0000000000000102" +
		"07000000000000000000000000000000" + strings.Repeat("00", 31) + "09"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	s, err := Sign(testKey("k"), testCall, time.UnixMilli(5))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(s.String(), " ")
	with := func(i int, word string) string {
		w := append([]string(nil), words...)
		w[i] = word
		return strings.Join(w, " ")
	}
	for _, c := range []struct{ name, text, place string }{
		{"empty", "", ""},
		{"other scheme", with(0, "Bearer"), ""},
		{"a word less", strings.Join(words[:4], " "), ""},
		{"a word more", s.String() + " x", ""},
		{"two spaces", with(1, " "+words[1]), ""},
		{"short key", with(1, words[1][2:]), "key"},
		{"not hexadecimal", with(1, "zz"+words[1][2:]), "key"},
		{"upper case", with(1, strings.ToUpper(words[1])), "key"},
		{"time", with(2, "x"), "time"},
		{"time with a sign", with(2, "+5"), "time"},
		{"time with a zero", with(2, "05"), "time"},
		{"time too large", with(2, "9223372036854775808"), "time"},
		{"nonce", with(3, words[3]+"00"), "nonce"},
		{"signature", with(4, words[4][1:]), "signature"},
	} {
		_, err := Parse(c.text)
		var f *FormatError
		if !errors.As(err, &f) || f.Place != c.place {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzParse(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 16})
	s, err := Sign(testKey("k"), testCall, time.UnixMilli(5))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.String())
	f.Add("Tacit-Ed25519 a 1 b c")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := Parse(text); err == nil && s.String() != text {
			t.Errorf("%q is read as %q", text, s)
		}
	})
}
