package main

import (
	"fmt"
	"io"
	"os"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// maxFile bounds what is read into memory at once, in bytes: more than any file
// but an evaluation key can have.
const maxFile = 128 << 20

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &inspect.SizeError{Got: int64(len(data)), Max: maxFile}
	}
	return data, inFile(path, err)
}

// readList reads a file of ciphertexts, of parameters p or of any if it is nil.
func readList(path string, p *fhe.Parameters) (*integer.List, error) {
	kind, err := inspect.DetectFile(path)
	if err != nil {
		return nil, inFile(path, err)
	}
	if kind != inspect.Ciphertexts {
		return nil, inFile(path, &kindError{kind, "ciphertexts"})
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	list, err := integer.UnmarshalList(data, p)
	return list, inFile(path, err)
}

// kindError reports a file of another kind than it should be.
type kindError struct {
	got  inspect.Kind
	want string
}

func (e *kindError) Error() string { return fmt.Sprintf("want %s, got %s", e.want, e.got) }
