package coprocessor

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// TestAtRest looks at what is stored of uploads and of results, and computes with
// both.
func TestAtRest(t *testing.T) {
	s, _ := small(t)
	sk := testKeys().Secret
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := testKeys().Public.Encrypter(backend)
	if err != nil {
		t.Fatal(err)
	}
	// More blocks than a GLWE ciphertext holds: a value of those made with the public
	// key has blocks in two.
	plain := append([]integer.Scalar{integer.Plain(integer.Bool, 1)}, slices.Repeat([]integer.Scalar{integer.Plain(integer.Uint64, 1<<63+5)}, 17)...)
	n := sk.Parameters().Literal().PolynomialSize
	for _, c := range []struct {
		form string
		by   integer.Encrypter
		most uint64 // bytes of a euint64
	}{{"secret-key", sk, 400}, {"public-key", enc, 400 + 2*6*uint64(n)}} {
		list, err := integer.Encrypt(sk.Parameters(), sk.ID(), c.by, testSeed("at rest "+c.form), plain...)
		if err != nil {
			t.Fatal(err)
		}
		data, err := list.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.sendList(t.Context(), upload{content: data})
		if err != nil {
			t.Fatal(err)
		}
		for i, ct := range resp.Ciphertexts {
			if ct.Size > c.most {
				t.Errorf("%s: value %d is stored in %d bytes, more than %d", c.form, i, ct.Size, c.most)
			}
			stored := s.fetch(ct.Handle)
			if got := integer.Decrypt(sk, stored.Value(0)).String(); got != plain[i].String() || stored.Form() != c.form {
				t.Errorf("%s: value %d is stored as %s, %s", c.form, i, got, stored.Form())
			}
		}
		// A value that is fetched may come again: its noise is still known.
		again, err := s.fetch(resp.Ciphertexts[16].Handle).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.sendList(t.Context(), upload{content: again}); err != nil {
			t.Errorf("%s: %v", c.form, err)
		}
		job := s.run("first-"+c.form, spec(t, fmt.Sprintf("input a = 0x%x\ninput b = 0x%x\nx = add(a, b)\noutput x", resp.Ciphertexts[1].Handle, resp.Ciphertexts[16].Handle)))
		if job.State != succeeded {
			t.Fatal(job)
		}
		result := s.fetch(job.Results[0].Handle)
		if got := integer.Decrypt(sk, result.Value(0)).String(); got != "euint64:10" || result.Form() != "packed" || job.Results[0].Size > 6<<10 {
			t.Errorf("%s: a result of %d bytes, %s, %s", c.form, job.Results[0].Size, got, result.Form())
		}
		job = s.run("second-"+c.form, spec(t, fmt.Sprintf("input a = 0x%x\nx = add(a, a)\noutput x", job.Results[0].Handle)))
		if got := s.decrypt(job.Results[0].Handle); got != "euint64:20" {
			t.Errorf("%s: of a stored result: %s", c.form, got)
		}
	}
}
