package fuzztest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// input is the arguments of one execution: []byte, string, bool and unsigned and signed integers but int32.
type input []any

// supported reports whether an argument may be of the type.
func supported(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[[]byte](), reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[byte](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
		reflect.TypeFor[uint64](), reflect.TypeFor[uint](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int64](), reflect.TypeFor[int]():
		return true
	}
	return false
}

// size returns the bytes of the []byte and string arguments.
func (in input) size() (n int) {
	for _, a := range in {
		switch a := a.(type) {
		case []byte:
			n += len(a)
		case string:
			n += len(a)
		}
	}
	return n
}

// corpusVersion is the first line of a file of the corpus, as of the standard library's fuzzer.
const corpusVersion = "go test fuzz v1"

// encode writes an input as the standard library's fuzzer does.
func (in input) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, corpusVersion)
	for _, a := range in {
		switch a := a.(type) {
		case []byte:
			fmt.Fprintf(&b, "[]byte(%q)\n", a)
		case string:
			fmt.Fprintf(&b, "string(%q)\n", a)
		case byte:
			fmt.Fprintf(&b, "byte(%q)\n", rune(a))
		default:
			fmt.Fprintf(&b, "%T(%v)\n", a, a)
		}
	}
	return b.Bytes()
}

var errCorpus = errors.New("not an input of this target")

// decode reads a file of the corpus of a target with the given function.
func decode(file []byte, fn reflect.Type) (input, error) {
	lines := strings.Split(strings.TrimRight(string(file), "\n"), "\n")
	if strings.TrimSpace(lines[0]) != corpusVersion || len(lines) != fn.NumIn() {
		return nil, errCorpus
	}
	in := make(input, len(lines)-1)
	for i, line := range lines[1:] {
		of, text, ok := strings.Cut(strings.TrimSpace(line), "(")
		text, end := strings.CutSuffix(text, ")")
		if !ok || !end {
			return nil, errCorpus
		}
		want := fn.In(i + 1)
		if name := want.String(); of != name && !(of == "byte" && name == "uint8") && !(of == "[]byte" && name == "[]uint8") {
			return nil, errCorpus
		}
		v := reflect.New(want).Elem()
		if err := parseValue(v, text); err != nil {
			return nil, fmt.Errorf("%w: %w", errCorpus, err)
		}
		in[i] = v.Interface()
	}
	return in, nil
}

// parseValue reads the text between the parentheses.
func parseValue(v reflect.Value, text string) error {
	switch {
	case v.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case v.Kind() == reflect.String || v.Kind() == reflect.Slice:
		s, err := strconv.Unquote(text)
		v.Set(reflect.ValueOf(s).Convert(v.Type()))
		return err
	case v.Kind() == reflect.Uint8 && strings.HasPrefix(text, "'"):
		r, _, rest, err := strconv.UnquoteChar(strings.TrimPrefix(text, "'"), '\'')
		if err == nil && (rest != "'" || r > 255) {
			err = strconv.ErrSyntax
		}
		v.SetUint(uint64(byte(r)))
		return err
	case v.CanUint():
		n, err := strconv.ParseUint(text, 0, v.Type().Bits())
		v.SetUint(n)
		return err
	default:
		n, err := strconv.ParseInt(text, 0, v.Type().Bits())
		v.SetInt(n)
		return err
	}
}

// readFolder reads the inputs of a folder in the order of their names, without those of another form of the target.
func readFolder(folder string, fn reflect.Type) (inputs []input, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		file, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		in, err := decode(file, fn)
		switch {
		case err == nil:
			inputs = append(inputs, in)
		case !errors.Is(err, errCorpus):
			return nil, err
		}
	}
	return inputs, nil
}

// write writes an input to the folder and returns the path of the file.
func (in input) write(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", err
	}
	file := in.encode()
	path := filepath.Join(folder, fmt.Sprintf("%x", sha256.Sum256(file))[:16])
	return path, os.WriteFile(path, file, 0o666)
}

// corpus is what mutations begin with.
type corpus struct {
	inputs  []input
	text    []bool   // which inputs are text
	tokens  []string // of the text, each once
	longest int      // argument, in bytes
}

// maxTokens and maxToken limit the tokens of a corpus.
const (
	maxTokens = 1 << 12
	maxToken  = 64
)

func newCorpus(inputs []input) *corpus {
	c := &corpus{inputs: inputs, text: make([]bool, len(inputs))}
	seen := make(map[string]bool)
	for i, in := range inputs {
		for _, a := range in {
			b, ok := raw(a)
			if !ok {
				continue
			}
			c.longest = max(c.longest, len(b))
			if !isText(b) {
				continue
			}
			c.text[i] = true
			for at := 0; at < len(b) && len(c.tokens) < maxTokens; {
				_, end := tokenAt(b, at)
				if token := string(b[at:end]); len(token) <= maxToken && !seen[token] {
					seen[token] = true
					c.tokens = append(c.tokens, token)
				}
				at = end
			}
		}
	}
	return c
}

// raw returns the bytes of a []byte or a string.
func raw(a any) (b []byte, ok bool) {
	switch a := a.(type) {
	case []byte:
		return a, true
	case string:
		return []byte(a), true
	}
	return nil, false
}

// isText reports whether the bytes are UTF-8 with hardly a control character.
func isText(b []byte) bool {
	if len(b) == 0 || !utf8.Valid(b) {
		return false
	}
	odd := 0
	for _, r := range string(b) {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			odd++
		}
	}
	return odd*10 < len(b)
}

// tokenAt returns where the token at a place begins and ends: a run of letters and digits, or one other byte.
func tokenAt(b []byte, at int) (begin, end int) {
	if !word(b[at]) {
		return at, at + 1
	}
	for begin = at; begin > 0 && at-begin < maxToken && word(b[begin-1]); begin-- {
	}
	for end = at + 1; end < len(b) && end-at < maxToken && word(b[end]); end++ {
	}
	return begin, end
}

func word(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf
}
