package keyfile

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// WritePublic makes a new file with mode 0644 that holds data. The file appears
// complete or not at all; a file that exists is left alone and is an
// *ExistsError.
func WritePublic(path string, data []byte) error {
	return WritePublicFrom(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WritePublicFrom is WritePublic with the content that write writes.
func WritePublicFrom(path string, write func(w io.Writer) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &ExistsError{Path: path}
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text()[:8]+".tmp")
	if err := create(temp, 0o644, write); err != nil {
		return failed(path, err)
	}
	// An empty file reserves the name; nobody else's file is replaced.
	err := create(path, 0o644, func(io.Writer) error { return nil })
	if err != nil {
		os.Remove(temp)
		return failed(path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		os.Remove(path)
		return failed(path, err)
	}
	return failed(path, syncDir(path))
}

// failed is why a file was not made. It names the file that was asked for, and the cause
// once.
func failed(path string, err error) error {
	if err == nil || errors.As(err, new(*ExistsError)) {
		return err
	}
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return fmt.Errorf("keyfile: %s: %w", path, err)
}

// create makes a new file, has it written, and waits until it is on disk. When
// that fails, the file is removed.
func create(path string, perm fs.FileMode, write func(w io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{Path: path}
	}
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<16)
	err = write(b)
	if err == nil {
		err = b.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// syncDir makes the name of a file durable. Windows has no such call and does
// not need it.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
