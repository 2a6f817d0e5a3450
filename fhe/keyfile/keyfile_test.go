package keyfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

func TestMain(m *testing.M) {
	workFactor = 4
	os.Exit(m.Run())
}

var (
	testKey  = []byte("container bytes \x00\xff\xfe of a key")
	testMeta = Meta{
		Created:    time.Date(2026, 11, 20, 9, 58, 0, 0, time.UTC),
		Parameters: "tacit-2-2-v1",
		KeyID:      [32]byte{1, 2, 31: 0xff},
	}
)

const testText = `# created: 2026-11-20T09:58:00Z
# parameters: tacit-2-2-v1
# key id: 01020000000000000000000000000000000000000000000000000000000000ff
TACIT-SECRET-KEY-1Y29udGFpbmVyIGJ5dGVzIAD__iBvZiBhIGtleQ
`

func pass(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func mustWrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWriteRead(t *testing.T) {
	for name, passphrase := range map[string][]byte{"plain": nil, "protected": []byte("päss phrase")} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret.key")
			if err := Write(path, testKey, testMeta, passphrase); err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, want 0600", st.Mode())
			}
			data, _ := os.ReadFile(path)
			if passphrase == nil && string(data) != testText {
				t.Errorf("file is\n%s\nwant\n%s", data, testText)
			}
			if passphrase != nil && (!bytes.HasPrefix(data, []byte(armor.Header)) || bytes.Contains(data, []byte("SECRET"))) {
				t.Errorf("not encrypted:\n%s", data)
			}
			ask := pass(string(passphrase))
			if passphrase == nil {
				ask = func() ([]byte, error) { t.Error("asked for a passphrase"); return nil, nil }
			}
			key, info, err := Read(path, ask)
			if err != nil || !bytes.Equal(key, testKey) {
				t.Fatalf("Read = %q, %v", key, err)
			}
			if want := (Info{Meta: testMeta, Protected: passphrase != nil}); info != want {
				t.Errorf("got %+v, want %+v", info, want)
			}
		})
	}
}

func TestWriteNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	mustWrite(t, path, "precious")
	for name, write := range map[string]func() error{
		"Write":           func() error { return Write(path, testKey, testMeta, nil) },
		"WritePublic":     func() error { return WritePublic(path, testKey) },
		"WritePublicFrom": func() error { return WritePublicFrom(path, func(io.Writer) error { panic("called") }) },
	} {
		err := write()
		var e *ExistsError
		if !errors.As(err, &e) || e.Path != path || !errors.Is(err, fs.ErrExist) || e.Hint() == "" {
			t.Errorf("%s: %v, want an ExistsError for %s", name, err, path)
		}
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file is now %q", data)
	}
	wantNames(t, dir, "key")
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	bad := func(edit func(*Meta)) Meta { m := testMeta; edit(&m); return m }
	dir := t.TempDir()
	for name, c := range map[string]struct {
		key        []byte
		meta       Meta
		passphrase []byte
	}{
		"no key":           {nil, testMeta, nil},
		"too large":        {make([]byte, MaxSize), testMeta, nil},
		"empty passphrase": {testKey, testMeta, []byte{}},
		"two lines":        {testKey, bad(func(m *Meta) { m.Parameters = "a\nTACIT" }), nil},
		"space":            {testKey, bad(func(m *Meta) { m.Parameters = "a " }), nil},
		"year":             {testKey, bad(func(m *Meta) { m.Created = m.Created.AddDate(8000, 0, 0) }), nil},
	} {
		if err := Write(filepath.Join(dir, "key"), c.key, c.meta, c.passphrase); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	wantNames(t, dir)
}

func TestReadErrors(t *testing.T) {
	dir := t.TempDir()
	protected, err := encrypt([]byte(testText), "right")
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(protected)
	i := bytes.LastIndex(flipped, []byte("\n---")) - 8
	flipped[i] ^= 'A' ^ 'B'
	if flipped[i] == '=' || flipped[i] == protected[i] {
		t.Fatal("the edit must hit the payload")
	}
	errAsk := errors.New("no terminal")

	for name, c := range map[string]struct {
		text string
		ask  func() ([]byte, error)
		want error
	}{
		"empty":             {"", nil, &FormatError{0, "no TACIT-SECRET-KEY-1 line"}},
		"comments only":     {"# a\n\n", nil, &FormatError{2, "no TACIT-SECRET-KEY-1 line"}},
		"other file":        {"# a\nhello\n", nil, &FormatError{2, "neither a comment nor a TACIT-SECRET-KEY-1 line"}},
		"binary":            {"TACIT\x01\x01\x00", nil, &FormatError{1, "neither a comment nor a TACIT-SECRET-KEY-1 line"}},
		"no bytes":          {"TACIT-SECRET-KEY-1\n", nil, &FormatError{1, "the key is not base64url"}},
		"standard base64":   {"TACIT-SECRET-KEY-1ab+/\n", nil, &FormatError{1, "the key is not base64url"}},
		"padding":           {"TACIT-SECRET-KEY-1YQ==\n", nil, &FormatError{1, "the key is not base64url"}},
		"stray bits":        {"TACIT-SECRET-KEY-1YR\n", nil, &FormatError{1, "the key is not base64url"}},
		"two keys":          {testText + testText, nil, &FormatError{8, "a second key"}},
		"key id":            {"# key id: 0102\n" + testText, nil, &FormatError{1, "the key id is not 64 hexadecimal digits"}},
		"created":           {"# created: today\n", nil, &FormatError{1, "the creation time is not in the form 2006-01-02T15:04:05Z"}},
		"parameters":        {"# parameters: \x1b[31m\n", nil, &FormatError{1, "the parameter name is not printable ASCII"}},
		"too large":         {testText + strings.Repeat("\n", MaxSize), nil, &SizeError{filepath.Join(dir, "too large"), MaxSize}},
		"nobody to ask":     {string(protected), nil, ErrPassphraseNeeded},
		"asking failed":     {string(protected), func() ([]byte, error) { return nil, errAsk }, errAsk},
		"empty passphrase":  {string(protected), pass(""), ErrEmptyPassphrase},
		"wrong passphrase":  {string(protected), pass("wrong"), ErrWrongPassphrase},
		"armor cut":         {string(protected[:len(protected)-40]), pass("right"), &FormatError{0, "damaged age encryption"}},
		"armor header":      {armor.Header + "\n", pass("right"), &FormatError{0, "damaged age encryption"}},
		"payload flipped":   {string(flipped), pass("right"), &FormatError{0, "damaged age encryption"}},
		"work factor":       {withWorkFactor(t, protected, "21"), nil, &WorkFactorError{21, 20}},
		"work factor huge":  {withWorkFactor(t, protected, "99999999999"), nil, &WorkFactorError{255, 20}},
		"work factor word":  {withWorkFactor(t, protected, "ten"), nil, &FormatError{0, "damaged age encryption"}},
		"another recipient": {encryptX25519(t), nil, &FormatError{0, "encrypted, but not to a passphrase"}},
		"other text in age": {mustEncrypt(t, "hello"), pass("right"), &FormatError{1, "neither a comment nor a TACIT-SECRET-KEY-1 line"}},
		"accepted: CRLF":    {strings.ReplaceAll(testText, "\n", "\r\n"), nil, nil},
		"accepted: no end":  {strings.TrimSuffix(testText, "\n"), nil, nil},
		"accepted: space":   {"\n \n" + string(protected) + "\n \n", pass("right"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, ":", ""))
			mustWrite(t, path, c.text)
			key, _, err := Read(path, c.ask)
			if c.want == nil {
				if err != nil || !bytes.Equal(key, testKey) {
					t.Errorf("got %q, %v", key, err)
				}
				return
			}
			if !errors.Is(err, c.want) && !sameError(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hello") {
				t.Errorf("the error quotes the file: %v", err)
			}
		})
	}
	if _, _, err := Read(filepath.Join(dir, "missing"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// sameError reports whether an error in the chain of err is equal to want.
func sameError(err, want error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.DeepEqual(err, want) {
			return true
		}
	}
	return false
}

func mustEncrypt(t *testing.T, text string) string {
	t.Helper()
	b, err := encrypt([]byte(text), "right")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// withWorkFactor replaces the work factor in the header of a protected file.
func withWorkFactor(t *testing.T, protected []byte, factor string) string {
	t.Helper()
	raw, err := io.ReadAll(armor.NewReader(bytes.NewReader(protected)))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitN(string(raw), "\n", 3)
	if !strings.HasSuffix(lines[1], " 4") {
		t.Fatalf("no work factor in %q", lines[1])
	}
	lines[1] = strings.TrimSuffix(lines[1], "4") + factor
	return armored(t, []byte(strings.Join(lines, "\n")))
}

func armored(t *testing.T, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	w := armor.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func encryptX25519(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, testText)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return armored(t, b.Bytes())
}

func TestPermissionWarning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	path := filepath.Join(t.TempDir(), "key")
	mustWrite(t, path, testText)
	for mode, warn := range map[fs.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o644: true, 0o611: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, info, err := Read(path, nil)
		if err != nil || (info.Warning != "") != warn {
			t.Errorf("mode %v: warning %q, error %v", mode, info.Warning, err)
		}
	}
}

func TestWritePublic(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "public.key")
	if err := WritePublic(path, testKey); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, testKey) {
		t.Errorf("got %q, %v", data, err)
	}
	if st, _ := os.Stat(path); runtime.GOOS != "windows" && st.Mode().Perm()&^0o644 != 0 {
		t.Errorf("mode %v", st.Mode())
	}

	errWrite := errors.New("no more key")
	err := WritePublicFrom(filepath.Join(dir, "failed.key"), func(w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		return errWrite
	})
	if !errors.Is(err, errWrite) {
		t.Errorf("got %v, want %v", err, errWrite)
	}
	// The error names the file that was asked for, once, and no other.
	absent := filepath.Join(dir, "none", "key")
	if err := WritePublic(absent, nil); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "keyfile: "+absent+": ") || strings.Contains(err.Error(), ".key.") {
		t.Errorf("missing folder: %v", err)
	}
	full := &fs.PathError{Op: "write", Path: "a name of ours", Err: fs.ErrInvalid}
	if err := WritePublicFrom(filepath.Join(dir, "full"), func(io.Writer) error { return full }); !errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), full.Path) {
		t.Errorf("failed write: %v", err)
	}
	wantNames(t, dir, "public.key")
}

// FuzzParse checks that what is accepted survives being written again.
func FuzzParse(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add([]byte(testText))
	f.Add([]byte("# created: 9999-12-31T23:59:59-01:00\nTACIT-SECRET-KEY-1YQ\n"))
	f.Add([]byte("#key id:\n# parameters : x\n\r\nTACIT-SECRET-KEY-1YR"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, meta, err := parse(text)
		if err != nil {
			var e *FormatError
			if !errors.As(err, &e) {
				t.Errorf("%v is not a FormatError", err)
			}
			return
		}
		again, err := format(key, meta)
		if err != nil {
			t.Fatal(err)
		}
		key2, meta2, err := parse(again)
		if err != nil || !bytes.Equal(key, key2) || meta != meta2 {
			t.Errorf("%q became %q: %v", text, again, err)
		}
	})
}

// FuzzDecrypt feeds protected files up to the passphrase: what is asked for one has a work factor that is allowed.
func FuzzDecrypt(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 512 << 10, PerByte: 64})
	defer func(old int) { workFactor = old }(workFactor)
	workFactor = 1
	file, err := encrypt([]byte(testText), "passphrase")
	if err != nil {
		f.Fatal(err)
	}
	plain, err := io.ReadAll(armor.NewReader(bytes.NewReader(file)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file, false)
	f.Add(plain, true)
	f.Add([]byte("age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 40\nZV/AhotwSGqaPCU43cepl4WYUouAa17a3xpu4G2yi5k\n--- x\n"), true)
	errAsked := errors.New("asked")
	f.Fuzz(func(t *testing.T, text []byte, wrap bool) {
		if wrap {
			var b bytes.Buffer
			w := armor.NewWriter(&b)
			w.Write(text)
			w.Close()
			text = b.Bytes()
		}
		_, err := decrypt(text, func() ([]byte, error) { return nil, errAsked })
		if err == nil || !errors.Is(err, errAsked) && !errors.Is(err, ErrWrongPassphrase) && !errors.As(err, new(*FormatError)) && !errors.As(err, new(*WorkFactorError)) {
			t.Errorf("%v", err)
		}
	})
}
