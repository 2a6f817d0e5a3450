package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
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

// readAs reads a file of at most maxFile bytes as what parse makes of it.
func readAs[T any](path string, parse func(data []byte) (T, error)) (T, error) {
	data, err := readFile(path)
	if err != nil {
		var none T
		return none, err
	}
	v, err := parse(data)
	return v, inFile(path, err)
}

// checkKind checks that a file is of a kind, by its first bytes.
func checkKind(path string, want inspect.Kind) error {
	kind, err := inspect.DetectFile(path)
	if err == nil && kind != want {
		err = &kindError{kind, string(want)}
	}
	return inFile(path, err)
}

// readList reads a file of ciphertexts, of parameters p or of any if it is nil.
func readList(path string, p *fhe.Parameters) (*integer.List, error) {
	if err := checkKind(path, inspect.Ciphertexts); err != nil {
		return nil, err
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	list, err := integer.UnmarshalList(data, p)
	return list, inFile(path, err)
}

// checkCiphertexts checks a file of ciphertexts of any scheme.
func checkCiphertexts(path string) error {
	kind, err := inspect.DetectFile(path)
	if err != nil {
		return inFile(path, err)
	}
	if kind != inspect.LeveledCiphertexts {
		_, err := readList(path, nil)
		return err
	}
	data, err := readFile(path)
	if err != nil {
		return err
	}
	_, err = leveled.UnmarshalCiphertexts(data, nil)
	return inFile(path, err)
}

// isVectors says that a container holds vectors.
func isVectors(data []byte) bool {
	h, err := codec.ReadHeader(bytes.NewReader(data))
	return err == nil && h.Kind == codec.LeveledCiphertexts
}

// joinLists makes one container of several, of ciphertexts of one key.
func joinLists(records [][]byte) ([]byte, error) {
	var vectors []*leveled.Ciphertext
	var lists []*integer.List
	for _, r := range records {
		if isVectors(r) {
			v, err := leveled.UnmarshalCiphertexts(r, nil)
			if err != nil {
				return nil, err
			}
			vectors = append(vectors, v...)
			continue
		}
		list, err := integer.UnmarshalList(r, nil)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	const hint = "fetch them into a folder"
	switch {
	case len(lists) == 0:
		data, err := leveled.MarshalCiphertexts(vectors...)
		if errors.As(err, new(*leveled.MismatchError)) {
			err = &hinted{err, hint}
		}
		return data, err
	case len(vectors) > 0:
		return nil, &hinted{errors.New("integers and vectors do not go into one file"), hint}
	}
	list, err := integer.Join(lists...)
	if errors.As(err, new(*integer.ListError)) {
		return nil, &hinted{err, hint}
	}
	if err != nil {
		return nil, err
	}
	return list.MarshalBinary()
}

// kindError reports a file of another kind than it should be.
type kindError struct {
	got  inspect.Kind
	want string
}

func (e *kindError) Error() string { return fmt.Sprintf("want %s, got %s", e.want, e.got) }
