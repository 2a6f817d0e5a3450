package fuzztest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestCorpusFiles writes inputs as the standard library's fuzzer does, and reads them and what only that writes.
func TestCorpusFiles(t *testing.T) {
	fn := reflect.TypeFor[func(*testing.T, []byte, string, bool, byte, int, uint16, uint64)]()
	in := input{[]byte("a\x00\xff\n\"'("), "é\xfe)", true, byte(0xff), -5, uint16(7), ^uint64(0)}
	const want = "go test fuzz v1\n[]byte(\"a\\x00\\xff\\n\\\"'(\")\nstring(\"é\\xfe)\")\nbool(true)\nbyte('ÿ')\nint(-5)\nuint16(7)\nuint64(18446744073709551615)\n"
	if got := string(in.encode()); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, file := range []string{want, strings.Replace(want, "'ÿ'", `'\xff'`, 1), strings.Replace(want, "byte('ÿ')", "uint8(255)", 1), strings.TrimSpace(want)} {
		if got, err := decode([]byte(file), fn); err != nil || !reflect.DeepEqual(got, in) {
			t.Errorf("%q is read as %q: %v", file, got, err)
		}
	}
	for _, change := range [][2]string{{"v1", "v2"}, {"bool(true)\n", ""}, {"int(-5)", "int16(-5)"}, {"uint16(7)", "uint16(65536)"}, {"true", "tru"}, {"'ÿ'", "'ÿa'"}, {"'ÿ'", "'Ā'"}, {"(-5)", "(-5"}} {
		if got, err := decode([]byte(strings.Replace(want, change[0], change[1], 1)), fn); err == nil {
			t.Errorf("%s instead of %s: read as %q", change[1], change[0], got)
		}
	}
}

// TestMutations checks that an execution is its seed and number alone, that the corpus stays as it is, that lengths stay
// within their limit, and that mutations differ.
func TestMutations(t *testing.T) {
	inputs := []input{{[]byte("name = 17 # text\nother = [1, 2]\n"), "x", 5}, {[]byte{0, 1, 0, 0, 255, 254}, "", -1}, {[]byte(nil), "word", 0}}
	c := newCorpus(inputs)
	before := make([]input, len(inputs))
	for i, in := range inputs {
		before[i] = clone(in)
		if got := c.at(9, uint64(i)); !reflect.DeepEqual(got.encode(), in.encode()) {
			t.Errorf("execution %d is %q", i, got)
		}
	}
	seen := make(map[string]bool)
	const n = 20000
	for i := range uint64(n) {
		in := c.at(1, i)
		if again := c.at(1, i); !reflect.DeepEqual(in, again) {
			t.Fatalf("execution %d is %q and %q", i, in, again)
		}
		if in.size() > 2*(2*c.longest+slackLength) {
			t.Fatalf("execution %d has %d bytes", i, in.size())
		}
		if b := in[0].([]byte); cap(b) != len(b) && i >= uint64(len(inputs)) {
			t.Fatalf("execution %d has room for %d bytes after its %d", i, cap(b), len(b))
		}
		seen[string(in.encode())] = true
	}
	if len(seen) < n*9/10 {
		t.Errorf("%d executions have only %d inputs", n, len(seen))
	}
	for i := range inputs {
		if !bytes.Equal(inputs[i].encode(), before[i].encode()) {
			t.Errorf("input %d was changed", i)
		}
	}
}

// planted are the faults of FuzzPlanted, by the name that picks one, each with what must be said of it.
var planted = map[string]struct {
	fault func(t *testing.T, data []byte, n uint16)
	want  string
}{
	"length": {func(t *testing.T, data []byte, n uint16) {
		if len(data) >= 8 && string(data[:4]) == "HEAD" {
			if n := binary.LittleEndian.Uint32(data[4:]); n > 1<<20 && n < 1<<28 {
				sink = make([]byte, n)
			}
		}
	}, `(?s)\d+ bytes were allocated for an input of \d+, at most \d+ are allowed`},
	"truncated": {func(t *testing.T, data []byte, n uint16) {
		if len(data) >= 4 && string(data[:4]) == "HEAD" {
			_ = data[7]
		}
	}, `panic: runtime error: index out of range \[7\] with length`},
	"token": {func(t *testing.T, data []byte, n uint16) {
		if bytes.Contains(data, []byte("gamma+alpha")) {
			t.Errorf("found")
		}
	}, `found`},
	"message": {func(t *testing.T, data []byte, n uint16) {
		// Field 3 of field 2 of field 1, all lengths right.
		for _, number := range []uint64{1, 2} {
			fields, ok := parseWire(data)
			if !ok || len(fields) != 2 || fields[1].tag != number<<3|wireBytes {
				return
			}
			data = fields[1].value
		}
		if fields, ok := parseWire(data); ok && len(fields) == 3 && string(fields[1].value) == string(fields[2].value) {
			t.Errorf("found")
		}
	}, `found`},
	"number": {func(t *testing.T, data []byte, n uint16) {
		if n == 1<<15 {
			t.Fatal("found")
		}
	}, `found`},
}

// TestMessages checks that messages are written as they are read, and that changes to them leave the lengths right.
func TestMessages(t *testing.T) {
	inner := appendWire(nil, []field{{1<<3 | wireVarint, []byte{0xac, 2}}, {15<<3 | wireFixed32, []byte{1, 2, 3, 4}}})
	message := appendWire(nil, []field{{maxFieldNumber<<3 | wireBytes, inner}, {2<<3 | wireFixed64, make([]byte, 8)}, {3<<3 | wireBytes, nil}})
	fields, ok := parseWire(message)
	if !ok || len(fields) != 3 || !bytes.Equal(fields[0].value, inner) || !bytes.Equal(appendWire(nil, fields), message) {
		t.Fatalf("%x is read as %v, %t", message, fields, ok)
	}
	for n := range len(message) {
		if _, ok := parseWire(message[:n]); ok && n != len(message)-2 && n != len(message)-2-9 {
			t.Errorf("the first %d bytes are a message", n)
		}
	}
	for _, bad := range []string{"", "\x00\x00", "\x07\x00", "\x0b\x0c", "\x08\xff", "\x0d\x00\x00\x00", "\x0a\x02a", "\x80\x80\x80\x80\x10\x00", "HEAD\x05\x00"} {
		if got, ok := parseWire([]byte(bad)); ok {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
	corpus := newCorpus([]input{{message}})
	nested, seen := 0, make(map[string]bool)
	for i := range uint64(1000) {
		m := &mutator{Rand: rand.New(rand.NewPCG(1, i)), corpus: corpus}
		b := m.message(bytes.Clone(message), 0)
		seen[string(b)] = true
		fields, ok := parseWire(b)
		if len(b) > 0 && !ok {
			t.Fatalf("%x is no message", b)
		}
		if len(fields) > 0 && fields[0].tag>>3 == maxFieldNumber && !bytes.Equal(fields[0].value, inner) {
			nested++
		}
	}
	if !bytes.Equal(corpus.inputs[0][0].([]byte), message) {
		t.Error("the corpus was changed")
	}
	if nested < 50 || len(seen) < 100 {
		t.Errorf("%d changes in the message within, %d different ones", nested, len(seen))
	}
}

var sink []byte

// FuzzPlanted has the fault that the environment names; without one it has none.
func FuzzPlanted(tf *testing.F) {
	f := New(tf, Bound{Constant: 4096, PerByte: 4})
	f.Add([]byte("HEAD\x05\x00\x00\x00hello"), uint16(5))
	f.Add([]byte("alpha + beta\ngamma"), uint16(0))
	inner := appendWire(nil, []field{{3<<3 | wireBytes, []byte("a string, then a number")}, {4<<3 | wireVarint, []byte{7}}})
	outer := appendWire(nil, []field{{5<<3 | wireFixed32, []byte("1234")}, {2<<3 | wireBytes, inner}})
	f.Add(appendWire(nil, []field{{5<<3 | wireFixed64, []byte("12345678")}, {1<<3 | wireBytes, outer}}), uint16(0))
	p := planted[os.Getenv("FUZZTEST_PLANTED")]
	f.Fuzz(func(t *testing.T, data []byte, n uint16) {
		if p.fault != nil {
			p.fault(t, data, n)
		}
	})
}

// TestPlanted runs this test's binary on each fault: it is found, and the file that is
// written repeats it; without a fault nothing is found.
func TestPlanted(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(dir, which string, env ...string) (string, error) {
		cmd := exec.Command(binary, "-test.run", "^"+which+"$", "-test.v")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run(t.TempDir(), "FuzzPlanted", EnvExecutions+"=20000")
	if err != nil || !regexp.MustCompile(`fuzztest: FuzzPlanted: executions=20000 seconds=\S+ largest=\d+ of=\d+ outcome=ok`).MatchString(out) {
		t.Errorf("without a fault: %v\n%s", err, out)
	}
	if out, err := run(t.TempDir(), "FuzzPlanted", EnvExecutions+"=1000000000000", EnvSeconds+"=1"); err != nil || !strings.Contains(out, "outcome=ok") {
		t.Errorf("for a second: %v\n%s", err, out)
	}
	for name, p := range planted {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fault := "FUZZTEST_PLANTED=" + name
			out, err := run(dir, "FuzzPlanted", fault, EnvExecutions+"=3000000", EnvSeed+"=7")
			if err == nil || !regexp.MustCompile(p.want).MatchString(out) {
				t.Fatalf("%v\n%s", err, out)
			}
			again := regexp.MustCompile(`execution (\d+) of seed 7 failed; the input is (\S+)\.`).FindStringSubmatch(out)
			if again == nil {
				t.Fatal(out)
			}
			if out, err := run(dir, "FuzzPlanted/"+filepath.Base(again[2]), fault); err == nil || !regexp.MustCompile(p.want).MatchString(out) {
				t.Errorf("from %s: %v\n%s", again[2], err, out)
			}
			os.RemoveAll(filepath.Join(dir, "testdata"))
			if out, err := run(dir, "FuzzPlanted", fault, EnvSeed+"=7", EnvFirst+"="+again[1], EnvExecutions+"=1"); err == nil {
				t.Errorf("execution %s alone: %s", again[1], out)
			}
		})
	}
}

// TestCache checks that what the guided fuzzer keeps is found.
func TestCache(t *testing.T) {
	if got, want := packagePath(func(*testing.T) {}), "github.com/tacit-fhe/tacit/bench/fuzztest"; got != want {
		t.Errorf("the package is %s, want %s", got, want)
	}
	folder := t.TempDir()
	in := input{[]byte("x"), uint16(1)}
	path, err := in.write(filepath.Join(folder, "a"))
	if err != nil {
		t.Fatal(err)
	}
	other := input{"another form"}
	if _, err := other.write(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	got, err := readFolder(filepath.Dir(path), reflect.TypeFor[func(*testing.T, []byte, uint16)]())
	if err != nil || !reflect.DeepEqual(got, []input{in}) {
		t.Errorf("read %q: %v", got, err)
	}
	if got, err := readFolder(filepath.Join(folder, "none"), nil); err != nil || got != nil {
		t.Errorf("no folder: %q, %v", got, err)
	}
}
