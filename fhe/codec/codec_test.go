package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

var update = flag.Bool("update", false, "rewrite the objects in testdata")

const testQ = 281474976317441 // 2^48 - 393215

var testFingerprint = [32]byte{0xaa, 1, 2, 3, 31: 0xbb}

// testBody has one field of each kind and ends with 3 residues modulo testQ.
func testBody(t testing.TB, residues []uint64) []byte {
	var b bytes.Buffer
	e := NewEncoder(&b)
	e.U8(5)
	e.U16(0x1234)
	e.U64(1 << 60)
	e.F64(0.5)
	e.Bytes([]byte("seed"))
	e.U32(2)
	e.U32s([]uint32{1, math.MaxUint32})
	e.U32(uint32(len(residues)))
	e.Residues(residues, MaxModulus)
	if err := e.Err(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type testFields struct {
	A uint8
	B uint16
	C uint64
	D float64
	E []byte
	F []uint32
	G []uint64
}

func readTestBody(d *Decoder) (testFields, error) {
	d.Enter("list", 7)
	f := testFields{A: d.U8("a"), B: d.U16("b"), C: d.U64("c"), D: d.F64("d"), E: d.Bytes("e", 4)}
	f.F = d.U32s("f", d.Count("f", 1<<20, 4))
	f.G = d.Residues("g", d.Count("g", 1<<20, ResidueSize), testQ)
	d.Leave()
	return f, d.Finish()
}

// readAll decodes a whole test object from memory and, separately, from a
// stream of single bytes, and checks that both give the same.
func readAll(t testing.TB, data []byte, want Want) (testFields, [32]byte, error) {
	body, digest, err := Decode(data, want)
	var fields testFields
	if err == nil {
		fields, err = readTestBody(NewBytesDecoder(body))
	}

	var sFields testFields
	var sDigest [32]byte
	r, sErr := NewReader(iotest.OneByteReader(bytes.NewReader(data)), want)
	if sErr == nil {
		if _, sErr = io.Copy(io.Discard, r); sErr == nil {
			sDigest, sErr = r.Verify()
		}
	}
	if sErr == nil {
		r, _ = NewReader(bytes.NewReader(data), want)
		sFields, sErr = readTestBody(r.Decoder())
	}
	if (err == nil) != (sErr == nil) || err == nil && (digest != sDigest || !cmp.Equal(fields, sFields)) {
		t.Fatalf("memory: %v %x %v\nstream: %v %x %v", fields, digest, err, sFields, sDigest, sErr)
	}
	return fields, digest, err
}

// corpus is the table of objects in testdata: how each differs from the valid
// one, and the error that it must give.
var corpus = []struct {
	name string
	edit func(valid []byte) []byte
	want error // compared by value, or by errors.Is for the sentinels
}{
	{"valid", func(b []byte) []byte { return b }, nil},
	{"empty", func(b []byte) []byte { return nil }, &TruncatedError{"header", 48, 0}},
	{"truncated-magic", func(b []byte) []byte { return b[:3] }, &TruncatedError{"header", 48, 3}},
	{"truncated-header", func(b []byte) []byte { return b[:47] }, &TruncatedError{"header", 48, 47}},
	{"truncated-no-body", func(b []byte) []byte { return b[:48] }, &TruncatedError{"body", 57, 0}},
	{"truncated-body", func(b []byte) []byte { return b[:100] }, &TruncatedError{"body", 57, 52}},
	{"truncated-no-digest", func(b []byte) []byte { return b[:105] }, &TruncatedError{"digest", 32, 0}},
	{"truncated-digest", func(b []byte) []byte { return b[:len(b)-1] }, &TruncatedError{"digest", 32, 31}},
	{"magic", func(b []byte) []byte { b[0] = 't'; return b }, ErrMagic},
	{"magic-short", func(b []byte) []byte { return []byte("TAX") }, ErrMagic},
	{"version-0", func(b []byte) []byte { b[5] = 0; return b }, &VersionError{0, 1}},
	{"version-2-short", func(b []byte) []byte { b[5] = 2; return b[:6] }, &VersionError{2, 1}},
	{"kind-other", func(b []byte) []byte { b[6] = 1; return b }, &KindError{SecretKey, PublicKey}},
	{"kind-unknown", func(b []byte) []byte { b[7] = 1; return b }, &KindError{258, 0}},
	{"fingerprint", func(b []byte) []byte { b[8] = 0; return b },
		&ParametersError{[32]byte{0, 1, 2, 3, 31: 0xbb}, testFingerprint}},
	{"length-2-60", func(b []byte) []byte { return setLength(b, 1<<60) }, &LimitError{"body", 1 << 60, 1 << 16}},
	{"length-max", func(b []byte) []byte { return setLength(b, math.MaxUint64) },
		&LimitError{"body", math.MaxUint64, 1 << 16}},
	{"length-one-more", func(b []byte) []byte { return setLength(b, 58) }, &TruncatedError{"digest", 32, 31}},
	{"length-one-less", func(b []byte) []byte { return setLength(b, 56) }, ErrDigest},
	{"length-limit", func(b []byte) []byte { return setLength(b, 1<<16) }, &TruncatedError{"body", 1 << 16, 89}},
	{"flipped-body", func(b []byte) []byte { b[60] ^= 1; return b }, ErrDigest},
	{"flipped-digest", func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b }, ErrDigest},
	{"trailing", func(b []byte) []byte { return append(b, 0) }, ErrTrailing},
	{"trailing-body", func(b []byte) []byte { return reseal(b, func(p []byte) []byte { return append(p, 1, 2) }) }, ErrTrailing},
	{"residue-q", func(b []byte) []byte {
		return reseal(b, func(p []byte) []byte {
			binary.LittleEndian.PutUint32(p[51:], testQ&math.MaxUint32)
			binary.LittleEndian.PutUint16(p[55:], testQ>>32)
			return p
		})
	}, &ResidueError{"list[7].g", 2, testQ, testQ}},
	{"residue-max", func(b []byte) []byte {
		return reseal(b, func(p []byte) []byte { copy(p[39:], "\xff\xff\xff\xff\xff\xff"); return p })
	}, &ResidueError{"list[7].g", 0, 1<<48 - 1, testQ}},
	{"count-over-limit", func(b []byte) []byte {
		return reseal(b, func(p []byte) []byte { binary.LittleEndian.PutUint32(p[23:], math.MaxUint32); return p })
	}, &LimitError{"list[7].f", math.MaxUint32, 1 << 20}},
	{"count-over-body", func(b []byte) []byte {
		return reseal(b, func(p []byte) []byte { binary.LittleEndian.PutUint32(p[35:], 4); return p })
	}, &TruncatedError{"list[7].g", 24, 18}},
	{"nan", func(b []byte) []byte {
		return reseal(b, func(p []byte) []byte {
			binary.LittleEndian.PutUint64(p[11:], math.Float64bits(math.NaN()))
			return p
		})
	}, ErrNotFinite},
	{"body-empty", func(b []byte) []byte { return reseal(b, func([]byte) []byte { return nil }) },
		&TruncatedError{"list[7].a", 1, 0}},
}

func setLength(b []byte, n uint64) []byte {
	binary.LittleEndian.PutUint64(b[40:], n)
	return b
}

// reseal edits the body and makes the digest right again.
func reseal(b []byte, edit func([]byte) []byte) []byte {
	return Encode(PublicKey, testFingerprint, edit(b[HeaderSize:len(b)-DigestSize]))
}

var testWant = Want{Kind: PublicKey, Fingerprint: &testFingerprint, Limit: 1 << 16}

func TestCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/objects/*.tacit")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(corpus) && !*update {
		t.Errorf("%d files in testdata/objects, want %d", len(files), len(corpus))
	}
	for _, c := range corpus {
		t.Run(c.name, func(t *testing.T) {
			made := c.edit(Encode(PublicKey, testFingerprint, testBody(t, []uint64{0, 1, testQ - 1})))
			file := filepath.Join("testdata/objects", c.name+".tacit")
			if *update {
				if err := os.WriteFile(file, made, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(made, data) {
				t.Errorf("the encoder no longer makes this file")
			}
			_, _, err = readAll(t, data, testWant)
			if !errors.Is(err, c.want) && !cmp.Equal(err, c.want) {
				t.Errorf("got  %v\nwant %v", err, c.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	body := testBody(t, []uint64{0, 1, testQ - 1})
	data := Encode(PublicKey, testFingerprint, body)
	for name, want := range map[string]Want{
		"exact": {PublicKey, &testFingerprint, uint64(len(body))},
		"any":   {Limit: math.MaxUint64},
	} {
		got, digest, err := readAll(t, data, want)
		if err != nil {
			t.Fatal(name, err)
		}
		if !bytes.Equal(digest[:], data[len(data)-DigestSize:]) {
			t.Error(name, "the digest is not the last field")
		}
		exp := testFields{5, 0x1234, 1 << 60, 0.5, []byte("seed"), []uint32{1, math.MaxUint32}, []uint64{0, 1, testQ - 1}}
		if d := cmp.Diff(exp, got); d != "" {
			t.Error(name, d)
		}
	}
	h, err := ReadHeader(bytes.NewReader(data))
	if exp := (Header{1, PublicKey, testFingerprint, uint64(len(body))}); err != nil || h != exp {
		t.Errorf("ReadHeader = %v, %v, want %v", h, err, exp)
	}
	if got := AppendTo([]byte("before"), PublicKey, testFingerprint, body); string(got) != "before"+string(data) {
		t.Error("AppendTo differs from Encode")
	}
}

func TestWriter(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 1000)
	want := Encode(EvaluationKey, testFingerprint, body)

	var b bytes.Buffer
	w := NewWriter(&b, EvaluationKey, testFingerprint, uint64(len(body)))
	for p := body; len(p) > 0; p = p[min(999, len(p)):] {
		if n, err := w.Write(p[:min(999, len(p))]); err != nil || n != min(999, len(p)) {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Error("Writer and Encode differ")
	}
	if d := w.Digest(); !bytes.Equal(d[:], want[len(want)-DigestSize:]) {
		t.Error("wrong Digest")
	}
	if w.Close() == nil {
		t.Error("a second Close succeeds")
	}
	if _, err := w.Write(nil); err == nil {
		t.Error("Write after Close succeeds")
	}

	w = NewWriter(io.Discard, EvaluationKey, testFingerprint, 10)
	w.Write(body[:9])
	if err, exp := w.Close(), (&TruncatedError{"body", 10, 9}); !cmp.Equal(err, error(exp)) {
		t.Errorf("short body: %v, want %v", err, exp)
	}
	w = NewWriter(io.Discard, EvaluationKey, testFingerprint, 10)
	w.Write(body[:9])
	exp := error(&LimitError{"body", 11, 10})
	if n, err := w.Write(body[:2]); n != 0 || !cmp.Equal(err, exp) {
		t.Errorf("long body: %d, %v, want %v", n, err, exp)
	}
	if err := w.Close(); !cmp.Equal(err, exp) {
		t.Errorf("Close after a long body: %v, want %v", err, exp)
	}
	if err := NewWriter(failingWriter{}, EvaluationKey, testFingerprint, 0).Close(); !errors.Is(err, errFull) {
		t.Errorf("Close = %v, want the error of the underlying writer", err)
	}
}

var errFull = errors.New("disk full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errFull }

func TestReaderErrors(t *testing.T) {
	data := Encode(SecretKey, testFingerprint, []byte("body"))
	for cut := 0; cut <= len(data)-1; cut++ {
		r, err := NewReader(io.MultiReader(bytes.NewReader(data[:cut]), iotest.ErrReader(errFull)), Want{Limit: 4})
		if err == nil {
			if _, err = io.ReadAll(r); err == nil {
				_, err = r.Verify()
			}
		}
		if !errors.Is(err, errFull) {
			t.Errorf("after %d bytes: %v, want the error of the underlying reader", cut, err)
		}
	}
	r, err := NewReader(bytes.NewReader(data), Want{Limit: 4})
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(r, make([]byte, 3))
	if _, err := r.Verify(); !errors.Is(err, ErrTrailing) {
		t.Errorf("Verify before the end of the body: %v, want ErrTrailing", err)
	}
}

// TestVectors crosses the sizes at which vectors are cut into chunks.
func TestVectors(t *testing.T) {
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 5} {
		res, u32 := make([]uint64, n), make([]uint32, n)
		for i := range n {
			res[i] = testQ - 1 - uint64(i)*0x123456789a%testQ
			u32[i] = uint32(i) * 0x9e3779b9
		}
		var b bytes.Buffer
		e := NewEncoder(&b)
		e.Residues(res, testQ)
		e.U32s(u32)
		e.Bytes(make([]byte, 10*n))
		if err := e.Err(); err != nil {
			t.Fatal(err)
		}
		if b.Len() != 20*n {
			t.Fatalf("%d elements in %d bytes, want %d", n, b.Len(), 20*n)
		}
		decoders := map[string]func() *Decoder{
			"memory": func() *Decoder { return NewBytesDecoder(b.Bytes()) },
			"stream": func() *Decoder { return NewDecoder(bytes.NewReader(b.Bytes()), uint64(b.Len())) },
		}
		for name, open := range decoders {
			d := open()
			if got := d.Residues("r", n, testQ); !cmp.Equal(got, res) {
				t.Errorf("%s, %d: Residues differ: %v", name, n, d.Err())
			}
			if got := d.U32s("u", n); !cmp.Equal(got, u32) {
				t.Errorf("%s, %d: U32s differ: %v", name, n, d.Err())
			}
			if got := d.Bytes("b", 10*n); len(got) != 10*n || d.Finish() != nil {
				t.Errorf("%s, %d: Bytes: %d, %v", name, n, len(got), d.Err())
			}
			d = open()
			gotR, gotU := make([]uint64, n), make([]uint32, n)
			d.ResiduesTo("r", gotR, testQ)
			d.U32sTo("u", gotU)
			if d.Left() != uint64(10*n) || d.Err() != nil || !cmp.Equal(gotR, res) || !cmp.Equal(gotU, u32) {
				t.Errorf("%s, %d: ResiduesTo or U32sTo differ: %v", name, n, d.Err())
			}
			if n > 0 {
				d = open()
				d.Residues("r", n, res[n-1])
				var e *ResidueError
				if !errors.As(d.Err(), &e) || e.Value != res[e.Index] || e.Modulus != res[n-1] {
					t.Errorf("%s, %d: %v, want a residue that is not below %d", name, n, d.Err(), res[n-1])
				}
			}
		}
	}
}

func TestEncoderErrors(t *testing.T) {
	var b bytes.Buffer
	e := NewEncoder(&b)
	long := make([]uint64, chunk+2)
	long[chunk+1] = testQ
	e.Residues(long, testQ)
	if exp := error(&ResidueError{"residues", chunk + 1, testQ, testQ}); !cmp.Equal(e.Err(), exp) {
		t.Errorf("got %v, want %v", e.Err(), exp)
	}
	before := b.Len()
	e.U8(1)
	if b.Len() != before {
		t.Error("a field was written after an error")
	}
	e = NewEncoder(io.Discard)
	e.Residues(nil, MaxModulus+1)
	if exp := error(&LimitError{"modulus", MaxModulus + 1, MaxModulus}); !cmp.Equal(e.Err(), exp) {
		t.Errorf("got %v, want %v", e.Err(), exp)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		e = NewEncoder(io.Discard)
		if e.F64(v); !errors.Is(e.Err(), ErrNotFinite) {
			t.Errorf("F64(%v): %v", v, e.Err())
		}
	}
	e = NewEncoder(failingWriter{})
	if e.U8(1); e.Err() != errFull {
		t.Errorf("got %v, want the error of the writer", e.Err())
	}
}

// TestClaimedLength reads fields whose length is claimed but not there: memory
// must stay in the order of what arrives.
func TestClaimedLength(t *testing.T) {
	const claim = 1 << 28
	reads := map[string]func(d *Decoder){
		"bytes":    func(d *Decoder) { d.Bytes("x", claim) },
		"u32":      func(d *Decoder) { d.U32s("x", claim/4) },
		"residues": func(d *Decoder) { d.Residues("x", claim/ResidueSize, testQ) },
	}
	for name, read := range reads {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d := NewDecoder(bytes.NewReader(make([]byte, 100)), claim)
		read(d)
		runtime.ReadMemStats(&after)
		var e *TruncatedError
		if !errors.As(d.Err(), &e) || e.Place != "x" {
			t.Errorf("%s: %v, want a TruncatedError at x", name, d.Err())
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<17 {
			t.Errorf("%s: %d bytes allocated for 100 that arrived", name, n)
		}
	}
}

func TestDecoderFail(t *testing.T) {
	d := NewBytesDecoder([]byte{1, 2})
	d.Enter("outer", -1)
	d.Enter("inner", 2)
	d.U8("type")
	d.Fail("type", errFull)
	d.Fail("other", io.EOF)
	if got := d.Finish(); !errors.Is(got, errFull) || got.Error() != "outer.inner[2].type: disk full" {
		t.Errorf("got %v", got)
	}
	if d.U8("next") != 0 || d.Left() != 1 {
		t.Error("a field was read after an error")
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[Kind]string{
		SecretKey: "kind 1 (secret key)", PublicKey: "kind 2 (public key)",
		EvaluationKey: "kind 3 (evaluation key)", Ciphertexts: "kind 4 (ciphertexts)", MigrationKey: "kind 5 (migration key)", 99: "kind 99 (unknown)",
	} {
		if got := k.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func addCorpus(f *fuzztest.Target) {
	files, _ := filepath.Glob("testdata/objects/*.tacit")
	if len(files) == 0 {
		f.Fatal("no objects in testdata")
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzDecode compares the two readers of the container; whatever they accept
// must be what Encode makes.
func FuzzDecode(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	addCorpus(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		readAll(t, data, testWant)
		h, _ := ReadHeader(bytes.NewReader(data))
		body, digest, err := Decode(data, Want{Limit: 1 << 16})
		if err != nil {
			return
		}
		again := Encode(h.Kind, h.Fingerprint, body)
		if !bytes.Equal(again, data) || !bytes.Equal(digest[:], data[len(data)-DigestSize:]) {
			t.Errorf("accepted %x, but Encode gives %x", data, again)
		}
	})
}

// FuzzBody reads bodies with a right digest, so that the fields are reached.
func FuzzBody(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	addCorpus(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		fields, _, err := readAll(t, Encode(PublicKey, testFingerprint, body), testWant)
		if err != nil {
			return
		}
		for i, v := range fields.G {
			if v >= testQ {
				t.Errorf("residue %d is %d", i, v)
			}
		}
	})
}

func BenchmarkResiduesTo(b *testing.B) {
	const n = 1 << 16
	body := make([]byte, n*ResidueSize)
	dst := make([]uint64, n)
	b.SetBytes(int64(len(body)))
	for range b.N {
		d := NewBytesDecoder(body)
		if d.ResiduesTo("r", dst, testQ); d.Finish() != nil {
			b.Fatal(d.Err())
		}
	}
}
