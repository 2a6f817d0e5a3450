package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// UploadEvaluationKey sends the container of an evaluation key, which it reads
// twice: once for the key id, which is its SHA-256, and once to send it. A key
// that the service holds already is not sent. Where the service has the beginning, of an
// upload of ours that was interrupted, by this call or before, it is not sent again; an
// upload that gets further with every attempt is tried again as often as it takes.
// progress, if not nil, is told how many bytes have arrived or gone. The error for a secret key is ErrSecretKey.
func (c *Client) UploadEvaluationKey(ctx context.Context, r io.ReadSeeker, progress func(done, total int64)) (*tacitv1.EvaluationKeyInfo, error) {
	if err := refuseSecret(r); err != nil {
		return nil, err
	}
	h := sha256.New()
	size, err := rewindAndCopy(h, r)
	if err != nil {
		return nil, err
	}
	id := h.Sum(nil)
	info, err := resume(ctx, c, id, size, func(ctx context.Context, offset int64) (*tacitv1.EvaluationKeyInfo, error) {
		first := &tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Header{
			Header: &tacitv1.EvaluationKeyHeader{KeyId: id, Size: uint64(size), Offset: uint64(offset)},
		}}
		ctx, err := c.identity.stream(ctx, tacitv1.Coprocessor_UploadEvaluationKey_FullMethodName, first)
		if err != nil {
			return nil, err
		}
		stream, err := c.service.UploadEvaluationKey(ctx)
		if err != nil {
			return nil, err
		}
		return send(stream, r, offset, size, first,
			func(chunk []byte) *tacitv1.UploadEvaluationKeyRequest {
				return &tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: chunk}}
			}, progress)
	})
	if err == nil && !bytes.Equal(info.KeyId, id) {
		return nil, &MismatchError{"evaluation key", fmt.Sprintf("the service answered for the key %x, not %x", info.KeyId, id)}
	}
	return info, err
}

// resume uploads the container of a key, which has that SHA-256 and size, from where the
// service has it, again and again as UploadEvaluationKey says.
func resume[Resp any](ctx context.Context, c *Client, digest []byte, size int64, upload func(ctx context.Context, offset int64) (*Resp, error)) (*Resp, error) {
	furthest, again := int64(0), false
	for n := 0; ; n++ {
		offset, err := int64(0), error(nil)
		if !again {
			offset, err = c.received(ctx, digest, size)
		}
		if offset > furthest {
			furthest, n = offset, 0
		}
		var resp *Resp
		if err == nil {
			attempt, cancel := context.WithCancel(ctx)
			resp, err = upload(attempt, offset)
			cancel()
		}
		if err == nil {
			return resp, nil
		}
		err = c.errorOf(err)
		// Another process answers than the one that was asked, or it has forgotten.
		var e *Error
		again = errors.As(err, &e) && e.Reason == "NO_SUCH_UPLOAD"
		if n+1 >= c.attempts || !again && !pause(ctx, err, n) {
			return nil, err
		}
	}
}

// received asks how much the service has of an upload of ours.
func (c *Client) received(ctx context.Context, id []byte, size int64) (int64, error) {
	resp, err := c.service.GetEvaluationKeyUpload(ctx, &tacitv1.GetEvaluationKeyUploadRequest{KeyId: id})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return 0, nil // a service from before uploads could be continued
	case err != nil:
		return 0, err
	case resp.Size != uint64(size) || resp.Received > uint64(size):
		return 0, nil
	}
	return int64(resp.Received), nil
}

// rewindAndCopy copies all of r.
func rewindAndCopy(w io.Writer, r io.ReadSeeker) (int64, error) {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(w, r)
}

// send sends a header and then the bytes of r from offset to size in chunks, and returns the
// answer.
func send[Req, Resp any](stream grpc.ClientStreamingClient[Req, Resp], r io.ReadSeeker, offset, size int64, header *Req, chunk func([]byte) *Req, progress func(done, total int64)) (*Resp, error) {
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	err := stream.Send(header)
	buf := make([]byte, ChunkSize)
	for done := offset; err == nil && done < size; {
		n, readErr := io.ReadFull(r, buf[:min(ChunkSize, size-done)])
		if readErr != nil {
			return nil, readErr
		}
		// gRPC has encoded the chunk when Send returns.
		if err = stream.Send(chunk(buf[:n])); err == nil {
			done += int64(n)
			if progress != nil {
				progress(done, size)
			}
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// At io.EOF the service has answered before it was sent everything.
	return stream.CloseAndRecv()
}

// UploadList sends a container of fresh ciphertexts and returns what the service
// stored, in the order of the list. The same container gets the same handles.
func (c *Client) UploadList(ctx context.Context, data []byte) ([]*tacitv1.CiphertextInfo, error) {
	if err := refuseSecret(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(data)
	first := &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{
		Header: &tacitv1.CiphertextsHeader{Size: uint64(len(data)), Sha256: digest[:]},
	}}
	resp, err := retry(ctx, c, func() (*tacitv1.UploadCiphertextsResponse, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ctx, err := c.identity.stream(ctx, tacitv1.Coprocessor_UploadCiphertexts_FullMethodName, first)
		if err != nil {
			return nil, err
		}
		stream, err := c.service.UploadCiphertexts(ctx)
		if err != nil {
			return nil, err
		}
		return send(stream, bytes.NewReader(data), 0, int64(len(data)), first,
			func(chunk []byte) *tacitv1.UploadCiphertextsRequest {
				return &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: chunk}}
			}, nil)
	})
	if err != nil {
		return nil, err
	}
	return resp.Ciphertexts, nil
}

// Stat describes stored ciphertexts, and lists the handles that the service does
// not hold, each in the order asked.
func (c *Client) Stat(ctx context.Context, handles ...[32]byte) (found []*tacitv1.CiphertextInfo, missing [][32]byte, err error) {
	return c.stat(ctx, nil, handles)
}

// StatUnder is Stat for the versions of ciphertexts under a key, which may be older than
// the present ones.
func (c *Client) StatUnder(ctx context.Context, key [32]byte, handles ...[32]byte) (found []*tacitv1.CiphertextInfo, missing [][32]byte, err error) {
	return c.stat(ctx, key[:], handles)
}

func (c *Client) stat(ctx context.Context, key []byte, handles [][32]byte) (found []*tacitv1.CiphertextInfo, missing [][32]byte, err error) {
	resp, err := retry(ctx, c, func() (*tacitv1.StatCiphertextsResponse, error) {
		return c.service.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: raw(handles), KeyId: key})
	})
	if err != nil {
		return nil, nil, err
	}
	for _, h := range resp.Missing {
		if len(h) != 32 {
			return nil, nil, &MismatchError{"handle", fmt.Sprintf("%d bytes long", len(h))}
		}
		missing = append(missing, [32]byte(h))
	}
	return resp.Ciphertexts, missing, nil
}

func raw(handles [][32]byte) [][]byte {
	out := make([][]byte, len(handles))
	for i := range handles {
		out[i] = handles[i][:]
	}
	return out
}

// Ciphertext is a stored ciphertext as it was fetched.
type Ciphertext struct {
	Info *tacitv1.CiphertextInfo
	// Record is a container that holds a list of one value. It has the size and
	// the digest that Info states.
	Record []byte
}

// Fetch returns stored ciphertexts in the order asked, each checked against the
// handle asked for and against its digest, or all or nothing. A record that is
// not what its header says is a *MismatchError.
func (c *Client) Fetch(ctx context.Context, handles ...[32]byte) ([]Ciphertext, error) {
	return c.fetch(ctx, nil, handles)
}

// FetchUnder is Fetch for the versions of ciphertexts under a key, which may be older
// than the present ones.
func (c *Client) FetchUnder(ctx context.Context, key [32]byte, handles ...[32]byte) ([]Ciphertext, error) {
	return c.fetch(ctx, key[:], handles)
}

func (c *Client) fetch(ctx context.Context, key []byte, handles [][32]byte) ([]Ciphertext, error) {
	return retry(ctx, c, func() ([]Ciphertext, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		req := &tacitv1.FetchCiphertextsRequest{Handles: raw(handles), KeyId: key}
		ctx, err := c.identity.stream(ctx, tacitv1.Coprocessor_FetchCiphertexts_FullMethodName, req)
		if err != nil {
			return nil, err
		}
		stream, err := c.service.FetchCiphertexts(ctx, req)
		if err != nil {
			return nil, err
		}
		f := &fetch{asked: handles}
		for {
			m, err := stream.Recv()
			if err == io.EOF {
				return f.out, f.end()
			}
			if err == nil {
				err = f.take(m)
			}
			if err != nil {
				return nil, err
			}
		}
	})
}

// fetch puts the messages of a stream together.
type fetch struct {
	asked [][32]byte
	out   []Ciphertext // the last one may lack chunks
}

func (f *fetch) take(m *tacitv1.FetchCiphertextsResponse) error {
	h := m.GetHeader()
	if h == nil {
		return f.chunk(m.GetChunk())
	}
	if err := f.complete(); err != nil {
		return err
	}
	switch n := len(f.out); {
	case n == len(f.asked):
		return &MismatchError{"answer", "more ciphertexts than were asked for"}
	case !bytes.Equal(h.Handle, f.asked[n][:]):
		return &MismatchError{"ciphertext " + hex.EncodeToString(f.asked[n][:]), fmt.Sprintf("the service sent %x instead", h.Handle)}
	case h.Size > MaxRecord:
		return &MismatchError{"ciphertext " + hex.EncodeToString(h.Handle), fmt.Sprintf("%d bytes, at most %d are accepted", h.Size, MaxRecord)}
	}
	f.out = append(f.out, Ciphertext{Info: h})
	return nil
}

func (f *fetch) chunk(chunk []byte) error {
	if len(f.out) == 0 {
		return &MismatchError{"answer", "a chunk before the first header"}
	}
	ct := &f.out[len(f.out)-1]
	if uint64(len(ct.Record)+len(chunk)) > ct.Info.Size {
		return &MismatchError{"ciphertext " + hex.EncodeToString(ct.Info.Handle), fmt.Sprintf("more than the %d bytes of its header", ct.Info.Size)}
	}
	ct.Record = append(ct.Record, chunk...)
	return nil
}

// complete checks the ciphertext that arrived last.
func (f *fetch) complete() error {
	if len(f.out) == 0 {
		return nil
	}
	ct := f.out[len(f.out)-1]
	if digest := sha256.Sum256(ct.Record); !bytes.Equal(digest[:], ct.Info.Digest) || uint64(len(ct.Record)) != ct.Info.Size {
		return &MismatchError{"ciphertext " + hex.EncodeToString(ct.Info.Handle),
			fmt.Sprintf("%d bytes with digest %x arrived, its header says %d bytes with digest %x", len(ct.Record), digest, ct.Info.Size, ct.Info.Digest)}
	}
	return nil
}

func (f *fetch) end() error {
	if err := f.complete(); err != nil {
		return err
	}
	if len(f.out) != len(f.asked) {
		return &MismatchError{"answer", fmt.Sprintf("%d ciphertexts, %d were asked for", len(f.out), len(f.asked))}
	}
	return nil
}
