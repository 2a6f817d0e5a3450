package upkeep

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// A backup is a tar archive: first the file "tacit-backup", JSON, then each value as a
// file bucket/key with its SHA-256 as a PAX record, and last the file
// "tacit-end", JSON with the number of values and a SHA-256 over the SHA-256s of all
// names and values in their order.
const (
	backupHead = "tacit-backup"
	backupEnd  = "tacit-end"

	paxDigest = "TACIT.sha256"

	backupVersion = 1
	maxHead       = 64 << 10
)

// head is the first file of a backup.
type head struct {
	Version int               `json:"version"`
	Created time.Time         `json:"created"`
	First   map[string]uint64 `json:"first"` // revisions that buckets begin with when they are restored
}

// end is the last file of a backup.
type end struct {
	Records int    `json:"records"`
	Digest  string `json:"digest"`
}

// BackupError reports a file that is no backup, or no whole one.
type BackupError struct {
	Place, Reason string
}

func (e *BackupError) Error() string { return fmt.Sprintf("upkeep: backup: %s: %s", e.Place, e.Reason) }

// Backup writes everything in a store to w. What is said of Copy is true of it too.
func Backup(ctx context.Context, from jetstream.JetStream, w io.Writer, progress func(store.Checked)) (out Copied, err error) {
	out.Damage = []Damage{}
	s := &live{js: from, damage: func(d Damage) { out.Damage = append(out.Damage, d) }}
	h := head{Version: backupVersion, Created: time.Now().UTC(), First: make(map[string]uint64)}
	for _, b := range buckets {
		if h.First[b.name], err = s.first(ctx, b); err != nil {
			return out, err
		}
	}
	archive := tar.NewWriter(w)
	if err := writeJSON(archive, backupHead, h); err != nil {
		return out, err
	}
	all := sha256.New()
	err = s.each(ctx, func(e entry) error {
		name, digest := e.bucket+"/"+e.key, sum(e.value)
		err := archive.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Size: int64(len(e.value)), Mode: 0o600, ModTime: h.Created, Format: tar.FormatPAX,
			PAXRecords: map[string]string{paxDigest: hex.EncodeToString(digest[:])},
		})
		if err != nil {
			return err
		}
		if _, err := archive.Write(e.value); err != nil {
			return err
		}
		account(all, name, digest)
		out.Add(store.Checked{Records: 1, Bytes: int64(len(e.value))})
		if progress != nil {
			progress(out.Checked)
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	if err := writeJSON(archive, backupEnd, end{out.Records, hex.EncodeToString(all.Sum(nil))}); err != nil {
		return out, err
	}
	return out, archive.Close()
}

// account adds a value to the digest of all.
func account(all hash.Hash, name string, digest [32]byte) {
	n := sum([]byte(name))
	all.Write(n[:])
	all.Write(digest[:])
}

func writeJSON(archive *tar.Writer, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = archive.Write(data)
	return err
}

// Restore writes a backup into an empty store. Where it ends with an error the store is
// of no use: it has what came before.
func Restore(ctx context.Context, r io.Reader, to jetstream.JetStream, progress func(store.Checked)) (store.Checked, error) {
	s := &archived{tar: tar.NewReader(r)}
	if err := s.begin(); err != nil {
		return store.Checked{}, err
	}
	return write(ctx, s, to, progress)
}

// archived is a backup that is read.
type archived struct {
	tar  *tar.Reader
	head head
}

// begin reads the first file.
func (a *archived) begin() error {
	h, err := a.tar.Next()
	if err != nil || h.Name != backupHead || h.Size > maxHead {
		return &BackupError{backupHead, "the file is not a backup"}
	}
	data, err := io.ReadAll(a.tar)
	if err == nil {
		err = json.Unmarshal(data, &a.head)
	}
	if err != nil {
		return &BackupError{backupHead, err.Error()}
	}
	if a.head.Version != backupVersion {
		return &BackupError{backupHead, fmt.Sprintf("version %d, want %d", a.head.Version, backupVersion)}
	}
	for name, first := range a.head.First {
		if first > 1<<62 {
			return &BackupError{backupHead, fmt.Sprintf("revision %d of %.40q", first, name)}
		}
	}
	return nil
}

func (a *archived) first(_ context.Context, b bucket) (uint64, error) {
	return a.head.First[b.name], nil
}

func (a *archived) each(ctx context.Context, visit func(entry) error) error {
	all := sha256.New()
	for records := 0; ; records++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := a.tar.Next()
		if err == io.EOF {
			return ErrTruncated
		}
		if err != nil {
			return a.broken("an entry", err)
		}
		if h.Name == backupEnd {
			return a.end(h, records, all)
		}
		e, digest, err := a.entry(h)
		if err != nil {
			return err
		}
		account(all, h.Name, digest)
		if err := visit(e); err != nil {
			return err
		}
	}
}

// entry reads one value.
func (a *archived) entry(h *tar.Header) (e entry, digest [32]byte, err error) {
	var ok bool
	e.bucket, e.key, ok = strings.Cut(h.Name, "/")
	if !ok || h.Typeflag != tar.TypeReg || !slices.ContainsFunc(buckets, func(b bucket) bool { return b.name == e.bucket }) {
		return e, digest, &BackupError{fmt.Sprintf("%.100q", h.Name), "not the name of a value"}
	}
	if h.Size < 0 || h.Size > store.MaxRecord {
		return e, digest, &BackupError{h.Name, fmt.Sprintf("%d bytes, at most %d are allowed", h.Size, store.MaxRecord)}
	}
	var value bytes.Buffer
	if _, err := io.Copy(&value, a.tar); err != nil {
		return e, digest, a.broken(h.Name, err)
	}
	e.value, digest = value.Bytes(), sum(value.Bytes())
	if h.PAXRecords[paxDigest] != hex.EncodeToString(digest[:]) {
		return e, digest, &BackupError{h.Name, "its bytes have another SHA-256"}
	}
	return e, digest, nil
}

// end reads the last file.
func (a *archived) end(h *tar.Header, records int, all hash.Hash) error {
	if h.Size > maxHead {
		return &BackupError{backupEnd, "too large"}
	}
	var want end
	data, err := io.ReadAll(a.tar)
	if err == nil {
		err = json.Unmarshal(data, &want)
	}
	if err != nil {
		return a.broken(backupEnd, err)
	}
	if want.Records != records || want.Digest != hex.EncodeToString(all.Sum(nil)) {
		return &BackupError{backupEnd, fmt.Sprintf("%d values were read, not the %d that were written", records, want.Records)}
	}
	return nil
}

// broken is an error of reading the archive.
func (a *archived) broken(place string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return &BackupError{place, err.Error()}
}

// named says whether the key of a byte string ends with its SHA-256.
func named(key string, value []byte) bool {
	digest := sum(value)
	return strings.HasSuffix(key, "."+hex.EncodeToString(digest[:]))
}

// CheckBackup reads a backup to its end without a store, and returns what Restore would
// find wrong with it.
func CheckBackup(ctx context.Context, r io.Reader) error {
	a := &archived{tar: tar.NewReader(r)}
	if err := a.begin(); err != nil {
		return err
	}
	return a.each(ctx, func(entry) error { return nil })
}
