package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// chunkSize is how many bytes of a key lie in one record.
	chunkSize = 4 << 20

	// maxKey is the largest key whose manifest fits a record: a terabyte.
	maxKey = (MaxRecord/32 - 1) * chunkSize
)

// Keys holds evaluation keys, tens to hundreds of megabytes each, named by the
// SHA-256 of their bytes. A key lies in records of 4 MiB in the bucket
// "key-chunks"; a manifest in "keys", written last, makes it exist. Keys is safe
// for concurrent use, also by several processes.
type Keys struct {
	chunks   *Blobs
	manifest *Bucket
	spool    string
}

// KeyInfo describes a stored key.
type KeyInfo struct {
	ID       [32]byte
	Size     int64 // bytes
	Uploaded time.Time
}

// manifest is a format version, the size as 8 big-endian bytes, and the SHA-256
// of each chunk.
type manifest struct {
	size   int64
	chunks [][32]byte
}

const manifestVersion = 1

func (m manifest) encode() []byte {
	b := binary.BigEndian.AppendUint64([]byte{manifestVersion}, uint64(m.size))
	for _, d := range m.chunks {
		b = append(b, d[:]...)
	}
	return b
}

func decodeManifest(b []byte) (manifest, error) {
	if len(b) < 9 || b[0] != manifestVersion || (len(b)-9)%32 != 0 {
		return manifest{}, errors.New("not a version 1 manifest")
	}
	size := binary.BigEndian.Uint64(b[1:])
	n := uint64(len(b)-9) / 32
	if size > n*chunkSize || n > 0 && size <= (n-1)*chunkSize {
		return manifest{}, fmt.Errorf("%d chunks for %d bytes", n, size)
	}
	m := manifest{size: int64(size)}
	for c := range slices.Chunk(b[9:], 32) {
		m.chunks = append(m.chunks, [32]byte(c))
	}
	return m, nil
}

// OpenKeys opens the store of keys, creating it when it is absent. Uploads wait
// in unnamed files in the directory spool until their digest is known to be
// right, so that nothing unverified enters the store.
func OpenKeys(ctx context.Context, js jetstream.JetStream, spool string) (*Keys, error) {
	chunks, err := OpenBlobs(ctx, js, "key-chunks")
	if err != nil {
		return nil, err
	}
	m, err := openOnce(ctx, js, "keys")
	if err != nil {
		return nil, err
	}
	return &Keys{chunks: chunks, manifest: m, spool: spool}, nil
}

// Put stores the key that r yields, at most limit bytes. Nothing becomes visible
// unless the SHA-256 of the bytes is id; otherwise the error is *DigestError, or
// *SizeError for more than limit bytes. Putting a key that is there is a no-op
// and does not read r; a damaged one is repaired.
func (s *Keys) Put(ctx context.Context, id [32]byte, r io.Reader, limit int64) error {
	if done, err := s.has(ctx, id); done || err != nil {
		return err
	}
	limit = min(limit, maxKey)
	f, err := NewSpool(s.spool)
	if err != nil {
		return fmt.Errorf("store: key %x: %w", id, err)
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(ctxReader{ctx, r}, limit+1))
	if err != nil {
		return fmt.Errorf("store: key %x: %w", id, err)
	}
	if size > limit {
		return &SizeError{What: fmt.Sprintf("key %x", id), Limit: limit}
	}
	if got := [32]byte(h.Sum(nil)); got != id {
		return &DigestError{Want: id, Got: got}
	}
	return s.store(ctx, id, f.File, size)
}

// PutFile is Put for a file of size bytes, which it reads twice.
func (s *Keys) PutFile(ctx context.Context, id [32]byte, f io.ReaderAt, size int64) error {
	if done, err := s.has(ctx, id); done || err != nil {
		return err
	}
	if size > maxKey {
		return &SizeError{What: fmt.Sprintf("key %x", id), Size: size, Limit: maxKey}
	}
	h := sha256.New()
	if _, err := io.Copy(h, ctxReader{ctx, io.NewSectionReader(f, 0, size)}); err != nil {
		return fmt.Errorf("store: key %x: %w", id, err)
	}
	if got := [32]byte(h.Sum(nil)); got != id {
		return &DigestError{Want: id, Got: got}
	}
	return s.store(ctx, id, f, size)
}

// has reports whether a key is there and whole.
func (s *Keys) has(ctx context.Context, id [32]byte) (bool, error) {
	err := s.verify(ctx, id)
	notFound, loss := (*KeyNotFoundError)(nil), (*DataLossError)(nil)
	if errors.As(err, &notFound) || errors.As(err, &loss) {
		return false, nil
	}
	return err == nil, err
}

// store writes a key whose digest is right.
func (s *Keys) store(ctx context.Context, id [32]byte, f io.ReaderAt, size int64) error {
	name := hex.EncodeToString(id[:])
	m := manifest{size: size}
	buf := make([]byte, min(size, chunkSize))
	for at := int64(0); at < size; at += int64(len(buf)) {
		buf = buf[:min(size-at, chunkSize)]
		if _, err := f.ReadAt(buf, at); err != nil {
			return fmt.Errorf("store: key %x: %w", id, err)
		}
		d, err := s.chunks.Put(ctx, name, buf)
		if err != nil {
			return err
		}
		m.chunks = append(m.chunks, d)
	}
	// The manifest is a function of the verified bytes, so writers that race
	// write the same one.
	if err := s.manifest.put(ctx, name, m.encode()); err != nil {
		return fmt.Errorf("store: writing key %x: %w", id, err)
	}
	return nil
}

// Spool is a file that is gone when it is closed.
type Spool struct {
	*os.File
	removed bool
}

// NewSpool makes an empty one in a directory. Unix forgets the file's name at once, so
// that a crash leaves nothing; Windows removes a file only once it is closed.
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, err
	}
	return &Spool{f, os.Remove(f.Name()) == nil}, nil
}

// Close closes and removes the file.
func (s *Spool) Close() error {
	err := s.File.Close()
	if !s.removed {
		err = errors.Join(err, os.Remove(s.Name()))
	}
	return err
}

// Open returns a reader of the key and its size in bytes. The reader yields
// io.EOF only after the SHA-256 of all bytes proved right; a key that cannot be
// read as stored gives *DataLossError, from Open or from a later Read. The
// context governs the reads too. Open gives *KeyNotFoundError for a key that was
// never stored.
func (s *Keys) Open(ctx context.Context, id [32]byte) (io.ReadCloser, int64, error) {
	m, _, err := s.stat(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	return &keyReader{ctx: ctx, keys: s, id: id, left: m.chunks, hash: sha256.New()}, m.size, nil
}

// Stat describes a key. It gives *KeyNotFoundError for one that was never stored.
func (s *Keys) Stat(ctx context.Context, id [32]byte) (KeyInfo, error) {
	m, uploaded, err := s.stat(ctx, id)
	return KeyInfo{ID: id, Size: m.size, Uploaded: uploaded}, err
}

// List describes all keys, in the order of their ids.
func (s *Keys) List(ctx context.Context) ([]KeyInfo, error) {
	names, err := s.manifest.Keys(ctx)
	if err != nil {
		return nil, err
	}
	var list []KeyInfo
	for _, name := range names {
		b, err := hex.DecodeString(name)
		if err != nil || len(b) != 32 {
			return nil, &DataLossError{Bucket: s.manifest.KV.Bucket(), Key: name, Detail: "not the name of a key"}
		}
		id := [32]byte(b)
		m, uploaded, err := s.stat(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, KeyInfo{ID: id, Size: m.size, Uploaded: uploaded})
	}
	slices.SortFunc(list, func(a, b KeyInfo) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return list, nil
}

func (s *Keys) stat(ctx context.Context, id [32]byte) (manifest, time.Time, error) {
	name := hex.EncodeToString(id[:])
	entry, err := s.manifest.Get(ctx, name)
	if err != nil {
		return manifest{}, time.Time{}, err
	}
	if entry == nil {
		return manifest{}, time.Time{}, &KeyNotFoundError{ID: id}
	}
	m, err := decodeManifest(entry.Value())
	if err != nil {
		return manifest{}, time.Time{}, &DataLossError{Bucket: s.manifest.KV.Bucket(), Key: name, Detail: err.Error()}
	}
	return m, entry.Created(), nil
}

// verify reads a key through.
func (s *Keys) verify(ctx context.Context, id [32]byte) error {
	r, _, err := s.Open(ctx, id)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// keyReader reads a key chunk by chunk; it holds one chunk in memory.
type keyReader struct {
	ctx  context.Context
	keys *Keys
	id   [32]byte
	left [][32]byte // chunks not yet fetched
	buf  []byte     // what is left of the current chunk
	hash hash.Hash
	err  error
}

func (r *keyReader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 && r.err == nil {
		r.next()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// next fetches the next chunk into r.buf, or sets r.err at the end.
func (r *keyReader) next() {
	name := hex.EncodeToString(r.id[:])
	if len(r.left) == 0 {
		r.err = io.EOF
		if got := r.hash.Sum(nil); [32]byte(got) != r.id {
			r.err = &DataLossError{Bucket: r.keys.manifest.KV.Bucket(), Key: name, Detail: fmt.Sprintf("SHA-256 of its bytes is %x", got)}
		}
		return
	}
	r.buf, r.err = r.keys.chunks.Get(r.ctx, name, r.left[0])
	r.left = r.left[1:]
	r.hash.Write(r.buf)
}

// Close releases the reader.
func (r *keyReader) Close() error {
	r.err = os.ErrClosed
	r.buf, r.left = nil, nil
	return nil
}

// ctxReader ends a copy when the context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
