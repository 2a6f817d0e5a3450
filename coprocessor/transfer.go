package coprocessor

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// chunks reads the chunks of a stream as bytes, no more than the header said.
type chunks struct {
	next func() ([]byte, error) // the next chunk; io.EOF at the end
	left uint64
	buf  []byte
}

func (c *chunks) Read(p []byte) (int, error) {
	for len(c.buf) == 0 {
		if c.left == 0 {
			return 0, c.atEnd()
		}
		chunk, err := c.next()
		switch {
		case err == io.EOF:
			return 0, refuse(codes.InvalidArgument, "TRUNCATED", "chunk", "the stream ended %d bytes before the size in its header", c.left)
		case err != nil:
			return 0, err
		case len(chunk) > MaxChunk:
			return 0, refuse(codes.InvalidArgument, "TOO_LARGE", "chunk", "a chunk of %d bytes, at most %d are allowed", len(chunk), MaxChunk)
		case uint64(len(chunk)) > c.left:
			return 0, refuse(codes.InvalidArgument, "TRAILING", "chunk", "more bytes than the size in the header")
		}
		c.left -= uint64(len(chunk))
		c.buf = chunk
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// atEnd returns io.EOF if the stream ends where its header said.
func (c *chunks) atEnd() error {
	for {
		chunk, err := c.next()
		if err != nil {
			return err
		}
		if len(chunk) > 0 {
			return refuse(codes.InvalidArgument, "TRAILING", "chunk", "more bytes than the size in the header")
		}
	}
}

func checkSize(size, limit uint64) error {
	if size > limit {
		return refuse(codes.InvalidArgument, "TOO_LARGE", "header.size", "%d bytes, at most %d are allowed", size, limit)
	}
	return nil
}

// beginUpload receives the first message of an upload, with which a signed call
// shows who makes it, and takes one of the places for uploads, which bound the
// memory that they take together. It returns the header, which that message has to be; done
// gives the place back.
func beginUpload[M, H any](s *Server, ctx context.Context, recv func() (M, error), headerOf func(M) *H) (header *H, done func(), err error) {
	first, err := recv()
	if err != nil {
		return nil, nil, noHeader(err)
	}
	if header = headerOf(first); header == nil {
		return nil, nil, noHeader(nil)
	}
	done, ok := s.uploads.begin(callOf(ctx).principal.Name)
	if !ok {
		return nil, nil, refuse(codes.ResourceExhausted, "TOO_MANY_UPLOADS", "", "%d uploads are under way, or %d of yours", maxUploads, maxUploads/2)
	}
	return header, done, nil
}

// GetEvaluationKeyUpload tells what has arrived of an upload of the caller.
func (s *Server) GetEvaluationKeyUpload(ctx context.Context, req *tacitv1.GetEvaluationKeyUploadRequest) (*tacitv1.EvaluationKeyUpload, error) {
	id, err := s.keyID(ctx, req.KeyId)
	if err != nil {
		return nil, err
	}
	n, size := s.partials.received(partialName{callOf(ctx).principal.Name, id})
	return &tacitv1.EvaluationKeyUpload{KeyId: id[:], Received: uint64(n), Size: size}, nil
}

// chunksOf returns the next chunk of an upload: content tells the chunk of a message that is one.
func chunksOf[M any](recv func() (M, error), content func(M) (chunk []byte, ok bool)) func() ([]byte, error) {
	return func() ([]byte, error) {
		m, err := recv()
		if err != nil {
			return nil, err
		}
		chunk, ok := content(m)
		if !ok {
			return nil, refuse(codes.InvalidArgument, "BAD_STREAM", "", "a second header")
		}
		return chunk, nil
	}
}

// receiveKey begins the upload of a key, whose container has that digest and size, or continues
// one after offset bytes, and returns what take makes of it. What has arrived when the stream
// breaks off can be continued.
func receiveKey[R any](s *Server, ctx context.Context, digest [32]byte, size, offset uint64, next func() ([]byte, error), take func(*partialReader) (R, error)) (r R, err error) {
	if err := checkSize(size, uint64(s.opts.MaxKey)); err != nil {
		return r, err
	}
	if offset > size {
		return r, refuse(codes.InvalidArgument, "BAD_OFFSET", "header.offset", "%d bytes of %d", offset, size)
	}
	p, err := s.partials.begin(ctx, partialName{callOf(ctx).principal.Name, digest}, size, offset, stallOf(ctx).stop)
	if err != nil {
		return r, err
	}
	in := &partialReader{all: s.partials, p: p, in: &chunks{left: size - offset, next: next}}
	defer func() {
		// Where all has arrived, it may yet be stored.
		s.partials.end(p, err != nil && (in.interrupted() || uint64(p.n) == p.size && faultOf(err).retryable()))
	}()
	return take(in)
}

// UploadEvaluationKey stores an evaluation key. It becomes visible only when it
// has the digest it is named by, this service's parameters, and decodes. What has arrived
// when the stream breaks off can be continued.
func (s *Server) UploadEvaluationKey(stream grpc.ClientStreamingServer[tacitv1.UploadEvaluationKeyRequest, tacitv1.EvaluationKeyInfo]) error {
	header, done, err := beginUpload(s, stream.Context(), stream.Recv, (*tacitv1.UploadEvaluationKeyRequest).GetHeader)
	if err != nil {
		return err
	}
	defer done()
	if len(header.KeyId) != sha256.Size {
		return refuse(codes.InvalidArgument, "BAD_KEY_ID", "header.key_id", "%d bytes, want %d", len(header.KeyId), sha256.Size)
	}
	id := fhe.KeyID(header.KeyId)
	ctx := stream.Context()
	next := chunksOf(stream.Recv, func(m *tacitv1.UploadEvaluationKeyRequest) ([]byte, bool) {
		_, ok := m.Content.(*tacitv1.UploadEvaluationKeyRequest_Chunk)
		return m.GetChunk(), ok
	})
	stored, err := receiveKey(s, ctx, id, header.Size, header.Offset, next, func(in *partialReader) (*tacitv1.EvaluationKeyInfo, error) { return s.takeKey(ctx, id, in) })
	if err != nil {
		return err
	}
	s.opts.Log.InfoContext(ctx, "evaluation key stored", "key", id, "size", stored.Size)
	return stream.SendAndClose(stored)
}

// takeKey stores a key that arrives, unless it is there, and makes the caller of ctx an owner.
func (s *Server) takeKey(ctx context.Context, id fhe.KeyID, in *partialReader) (*tacitv1.EvaluationKeyInfo, error) {
	object := access.EvaluationKey(id)
	callOf(ctx).note("key", keyName(id))
	parameters := store.Digest(s.opts.Params.Fingerprint())
	damaged, err := s.keys.Damaged(ctx, id)
	absent := errors.As(err, new(*store.KeyNotFoundError))
	owns := false
	if absent {
		err = nil
	} else if err == nil && !damaged {
		owns, err = s.lists.Owns(ctx, callOf(ctx).principal.Name, object)
	}
	if err == nil && !owns {
		// Who knows the id of a key has yet to show that it has the key; whether the key is
		// stored must not show meanwhile.
		parameters, err = s.readKey(id, in)
	}
	if err == nil && (absent || damaged) {
		if damaged {
			s.opts.Log.WarnContext(ctx, "a damaged evaluation key is stored again", "key", id)
		}
		err = s.keys.PutFile(ctx, id, in.p.file, in.p.n)
	}
	if err == nil {
		err = s.own(ctx, object)
	}
	var known keyring.Key
	if err == nil {
		known, err = s.ring.Change(ctx, id, func(k *keyring.Key) error {
			if k.Parameters == (store.Digest{}) {
				k.Parameters = parameters
			}
			return nil
		})
	}
	return s.keyInfo(ctx, id, known, err)
}

// readKey decodes a key while it arrives, so that what is no key is refused at once, and
// returns the fingerprint of its parameters. It is an error if it is another one than its
// id says.
func (s *Server) readKey(id fhe.KeyID, in io.Reader) (store.Digest, error) {
	got, parameters, err := checkEvaluationKey(bufio.NewReaderSize(in, 64<<10), s.opts.Params)
	if err == nil && got != id {
		err = faultOf(&store.DigestError{Want: id, Got: got}).at("header.key_id")
	}
	return parameters, err
}

// checkEvaluationKey decodes a key, for integers with the parameters p or for vectors, and keeps
// nothing of it.
func checkEvaluationKey(r io.Reader, p *fhe.Parameters) (fhe.KeyID, store.Digest, error) {
	r, kind, err := kindOf(r)
	if err != nil {
		return fhe.KeyID{}, store.Digest{}, err
	}
	if kind != codec.LeveledEvaluationKey {
		id, err := fhe.CheckEvaluationKey(r, p)
		return id, p.Fingerprint(), err
	}
	if p.Clear() {
		return fhe.KeyID{}, store.Digest{}, refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "kind", "a key of vectors, a mock computes with %s alone", p.Name())
	}
	set, id, _, err := leveled.CheckEvaluationKey(r, nil)
	if err != nil {
		return fhe.KeyID{}, store.Digest{}, err
	}
	return id, set.Fingerprint(), nil
}

func noHeader(err error) error {
	if err != nil && err != io.EOF {
		return err
	}
	return refuse(codes.InvalidArgument, "BAD_STREAM", "header", "the stream must begin with a header")
}

// ListKeys lists the stored evaluation keys that the caller has rights on.
func (s *Server) ListKeys(ctx context.Context, req *tacitv1.ListKeysRequest) (*tacitv1.ListKeysResponse, error) {
	list, err := s.keys.List(ctx)
	if err != nil {
		return nil, err
	}
	if req.PageToken != "" {
		after, err := hex.DecodeString(req.PageToken)
		if err != nil {
			return nil, refuse(codes.InvalidArgument, "BAD_PAGE_TOKEN", "page_token", "not a token of an earlier page")
		}
		list = slices.DeleteFunc(list, func(k store.KeyInfo) bool { return slices.Compare(k.ID[:], after) <= 0 })
	}
	size := int(req.PageSize)
	if size == 0 || size > 1000 {
		size = 1000
	}
	resp := new(tacitv1.ListKeysResponse)
	for _, k := range list {
		if rights, err := s.lists.Rights(ctx, callOf(ctx).principal, access.EvaluationKey(k.ID)); err != nil {
			return nil, err
		} else if rights == 0 {
			continue
		}
		if n := len(resp.Keys); n == size {
			resp.NextPageToken = hex.EncodeToString(resp.Keys[n-1].KeyId)
			break
		}
		known, err := s.ring.Get(ctx, k.ID)
		if err != nil {
			return nil, err
		}
		resp.Keys = append(resp.Keys, s.describeKey(k, known))
	}
	return resp, nil
}

// UploadCiphertexts stores fresh ciphertexts. The handle of each is a SHA-256 of
// the container it came in and its place there.
func (s *Server) UploadCiphertexts(stream grpc.ClientStreamingServer[tacitv1.UploadCiphertextsRequest, tacitv1.UploadCiphertextsResponse]) error {
	header, done, err := beginUpload(s, stream.Context(), stream.Recv, (*tacitv1.UploadCiphertextsRequest).GetHeader)
	if err != nil {
		return err
	}
	defer done()
	if err := checkSize(header.Size, MaxUpload); err != nil {
		return err
	}
	c := callOf(stream.Context())
	switch n := len(header.Sha256); {
	case n == 0 && c.signed:
		return refuse(codes.InvalidArgument, "MISSING_DIGEST", "header.sha256", "a signed upload needs the SHA-256 of its container")
	case n != 0 && n != sha256.Size:
		return refuse(codes.InvalidArgument, "BAD_DIGEST", "header.sha256", "%d bytes, want %d", n, sha256.Size)
	}
	// Memory grows with what arrives, not with what the header says.
	data, err := io.ReadAll(&chunks{left: header.Size, next: chunksOf(stream.Recv, func(m *tacitv1.UploadCiphertextsRequest) ([]byte, bool) {
		_, ok := m.Content.(*tacitv1.UploadCiphertextsRequest_Chunk)
		return m.GetChunk(), ok
	})})
	if err != nil {
		return err
	}
	container := sha256.Sum256(data)
	if len(header.Sha256) > 0 && [32]byte(header.Sha256) != container {
		return refuse(codes.InvalidArgument, "DIGEST_MISMATCH", "header.sha256", "the container has SHA-256 %x", container)
	}
	c.note("container", hex.EncodeToString(container[:]))
	list, err := readFresh(data, s.opts.Params)
	if err != nil {
		return err
	}
	ctx := stream.Context()
	id := list.key
	c.note("key", keyName(id), "count", len(list.records))
	if err := s.usable(ctx, id); err != nil {
		return faultOf(err).at("key id")
	}
	if k, err := s.ring.Get(ctx, id); err != nil {
		return err
	} else if want := list.parameters; k.Parameters != want && k.Parameters != (store.Digest{}) {
		return faultOf(&codec.ParametersError{Got: want, Want: k.Parameters})
	}
	resp := new(tacitv1.UploadCiphertextsResponse)
	for i, record := range list.records {
		ct := store.Ciphertext{
			Handle: sha256.Sum256(fmt.Appendf(nil, "tacit upload 1\x00%x %d", container, i)),
			Type:   list.types[i], KeyID: id, Record: record, Maker: makerName(c.principal.Name),
		}
		if err := s.ciphertexts.Put(ctx, ct); err != nil {
			return err
		}
		// After the ciphertext, whose bytes the caller has then shown to have.
		if err := s.own(ctx, access.Ciphertext(ct.Handle)); err != nil {
			return err
		}
		s.queue.Arrived(ct.Handle)
		resp.Ciphertexts = append(resp.Ciphertexts, info(ct))
	}
	s.opts.Log.InfoContext(ctx, "ciphertexts stored", "key", id, "count", len(list.records))
	return stream.SendAndClose(resp)
}

// fresh is what an upload holds, each value as it is stored.
type fresh struct {
	key        fhe.KeyID
	parameters store.Digest
	types      []uint8
	records    [][]byte
}

// readFresh decodes a container of fresh ciphertexts, of integers with the parameters p or of vectors.
func readFresh(data []byte, p *fhe.Parameters) (f fresh, err error) {
	computed := refuse(codes.InvalidArgument, "NOT_FRESH", "form", "only fresh encryptions are accepted: the noise of computed ciphertexts cannot be checked; refer to results by their handles")
	// Each value made with a public key keeps a mask: what is stored may be many times
	// what arrived.
	stored := 0
	add := func(t uint8, record []byte, err error) error {
		if stored += len(record); err == nil && stored > MaxStored {
			err = refuse(codes.InvalidArgument, "TOO_LARGE", "values", "the values take more than %d bytes when each is stored: upload fewer at a time", MaxStored)
		}
		f.types, f.records = append(f.types, t), append(f.records, record)
		return err
	}
	if isVectorRecord(data) {
		vectors, err := leveled.UnmarshalCiphertexts(data, nil)
		if err != nil {
			return f, err
		}
		f.key, f.parameters = vectors[0].KeyID(), vectors[0].Parameters().Fingerprint()
		for _, v := range vectors {
			if !v.Fresh() {
				return f, computed
			}
			record, err := leveled.MarshalCiphertexts(v)
			if err := add(uint8(vectorType(v.Parameters())), record, err); err != nil {
				return f, err
			}
		}
		return f, nil
	}
	list, err := integer.UnmarshalList(data, p)
	if err != nil {
		return f, err
	}
	if !list.Fresh() {
		return f, computed
	}
	f.key, f.parameters = list.KeyID(), p.Fingerprint()
	for i := range list.Len() {
		record, err := list.Only(i).MarshalBinary()
		if err := add(uint8(list.Type(i)), record, err); err != nil {
			return f, err
		}
	}
	return f, nil
}

// parseHandles checks the handles of a call.
func parseHandles(raw [][]byte) ([][32]byte, error) {
	if len(raw) > maxHandles {
		return nil, refuse(codes.InvalidArgument, "LIMIT", "handles", "%d handles, at most %d are allowed", len(raw), maxHandles)
	}
	out := make([][32]byte, len(raw))
	for i, h := range raw {
		if len(h) != len(out[i]) {
			return nil, refuse(codes.InvalidArgument, "BAD_HANDLE", fmt.Sprintf("handles[%d]", i), "%d bytes, want %d", len(h), len(out[i]))
		}
		out[i] = [32]byte(h)
	}
	return out, nil
}

// StatCiphertexts describes ciphertexts that the caller may read, without sending
// them.
func (s *Server) StatCiphertexts(ctx context.Context, req *tacitv1.StatCiphertextsRequest) (*tacitv1.StatCiphertextsResponse, error) {
	handles, err := parseHandles(req.Handles)
	if err != nil {
		return nil, err
	}
	key, err := s.version(ctx, req.KeyId)
	if err != nil {
		return nil, err
	}
	resp := new(tacitv1.StatCiphertextsResponse)
	for _, h := range handles {
		found, err := s.stat(ctx, h, key)
		switch {
		case errors.As(err, new(*store.NotFoundError)), err != nil && faultOf(err).code == codes.PermissionDenied:
			resp.Missing = append(resp.Missing, h[:])
			if t, made, err := s.queue.Makes(ctx, callOf(ctx).principal.Name, h); err != nil {
				return nil, err
			} else if made {
				resp.Pending = append(resp.Pending, &tacitv1.PendingCiphertext{Handle: h[:], Type: tacitv1.Type(t).Enum()})
			}
		case err != nil:
			return nil, err
		default:
			resp.Ciphertexts = append(resp.Ciphertexts, found)
		}
	}
	return resp, nil
}

// version is the key whose versions of ciphertexts a call asks for, or nil for the
// present ones.
func (s *Server) version(ctx context.Context, raw []byte) (*fhe.KeyID, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	id, err := s.keyID(ctx, raw)
	return &id, err
}

func (s *Server) stat(ctx context.Context, h [32]byte, key *fhe.KeyID) (*tacitv1.CiphertextInfo, error) {
	if err := s.may(ctx, access.Ciphertext(h), access.Read); err != nil {
		return nil, err
	}
	m, err := s.ciphertexts.Stat(ctx, h)
	if key != nil && err == nil {
		m, err = s.ciphertexts.StatUnder(ctx, h, *key)
	}
	if err != nil {
		return nil, err
	}
	return &tacitv1.CiphertextInfo{
		Handle: h[:], Type: tacitv1.Type(m.Type).Enum(), KeyId: m.KeyID[:], Digest: m.Digest[:], Size: uint64(m.Size),
	}, nil
}

// FetchCiphertexts sends ciphertexts. All are looked up before the first is
// sent.
func (s *Server) FetchCiphertexts(req *tacitv1.FetchCiphertextsRequest, stream grpc.ServerStreamingServer[tacitv1.FetchCiphertextsResponse]) error {
	ctx := stream.Context()
	done, ok := s.fetches.begin(callOf(ctx).principal.Name)
	if !ok {
		return refuse(codes.ResourceExhausted, "TOO_MANY_FETCHES", "", "%d fetches are under way, or %d of yours", maxFetches, maxFetches/2)
	}
	defer done()
	handles, err := parseHandles(req.Handles)
	if err != nil {
		return err
	}
	key, err := s.version(ctx, req.KeyId)
	if err != nil {
		return err
	}
	headers := make([]*tacitv1.CiphertextInfo, len(handles))
	for i, h := range handles {
		if headers[i], err = s.stat(ctx, h, key); err != nil {
			if !errors.As(err, new(*store.NotFoundError)) {
				return err
			}
			place := fmt.Sprintf("handles[%d]", i)
			if _, made, err := s.queue.Makes(ctx, callOf(ctx).principal.Name, h); err != nil {
				return err
			} else if made {
				return refuse(codes.FailedPrecondition, "PENDING_HANDLE", place, "%x is not there yet: a job is to make it", h)
			}
			return refuse(codes.NotFound, "UNKNOWN_HANDLE", place, "%v", err)
		}
	}
	for i, h := range handles {
		// What was described is sent, whatever has happened to the handle since.
		record, err := s.ciphertexts.GetUnder(ctx, h, [32]byte(headers[i].KeyId))
		if err != nil {
			return err
		}
		if err := stream.Send(&tacitv1.FetchCiphertextsResponse{Content: &tacitv1.FetchCiphertextsResponse_Header{Header: headers[i]}}); err != nil {
			return err
		}
		for chunk := range slices.Chunk(record, MaxChunk) {
			if err := stream.Send(&tacitv1.FetchCiphertextsResponse{Content: &tacitv1.FetchCiphertextsResponse_Chunk{Chunk: chunk}}); err != nil {
				return err
			}
		}
	}
	return nil
}
