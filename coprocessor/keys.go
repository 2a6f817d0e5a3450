package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// keyID checks the id of a key in a call.
func (s *Server) keyID(ctx context.Context, raw []byte) (fhe.KeyID, error) {
	if len(raw) != sha256.Size {
		return fhe.KeyID{}, refuse(codes.InvalidArgument, "BAD_KEY_ID", "key_id", "%d bytes, want %d", len(raw), sha256.Size)
	}
	callOf(ctx).note("key", keyName([32]byte(raw)))
	return fhe.KeyID(raw), nil
}

// keyFor checks the id of a key in a call, and that the caller of ctx may have it: known or leads.
func (s *Server) keyFor(ctx context.Context, raw []byte, may func(context.Context, fhe.KeyID) error) (fhe.KeyID, error) {
	id, err := s.keyID(ctx, raw)
	if err == nil {
		err = may(ctx, id)
	}
	return id, err
}

// known returns nil if a key is stored and the caller of ctx has any right on it.
func (s *Server) known(ctx context.Context, id fhe.KeyID) error {
	o := access.EvaluationKey(id)
	rights, err := s.lists.Rights(ctx, callOf(ctx).principal, o)
	if err == nil && rights == 0 {
		callOf(ctx).deny(o.String())
		err = unknown(o)
	}
	if err == nil {
		_, err = s.keys.Stat(ctx, id)
	}
	return err
}

// leads returns nil if the caller of ctx decides about a key: its first owner, who
// uploaded it, or an administrator. Who became an owner later has shown to have the
// evaluation key, which is public, and nothing else.
func (s *Server) leads(ctx context.Context, id fhe.KeyID) error {
	o := access.EvaluationKey(id)
	if err := s.exists(ctx, o, access.Grant); err != nil {
		return err
	}
	p := callOf(ctx).principal
	if p.Has(access.Admin) {
		return nil
	}
	l, err := s.lists.List(ctx, p, o)
	if err != nil {
		return seen(ctx, err)
	}
	if len(l.Owners) == 0 || l.Owners[0] != p.Name {
		callOf(ctx).deny(o.String())
		return refuse(codes.PermissionDenied, "NOT_FIRST_OWNER", "", "this takes the first owner of the key")
	}
	return nil
}

// usable returns nil if the caller of ctx may compute under a key and the key is in use.
func (s *Server) usable(ctx context.Context, id fhe.KeyID) error {
	if err := s.exists(ctx, access.EvaluationKey(id), access.Compute); err != nil {
		return err
	}
	k, err := s.ring.Get(ctx, id)
	if err == nil && k.Retired {
		err = retired(id, k)
	}
	return err
}

func retired(id fhe.KeyID, k keyring.Key) error {
	message := "the key is retired"
	if k.Migration != nil {
		message += ", its ciphertexts move to the key " + hex.EncodeToString(k.Migration.To[:])
	}
	return &keyring.StateError{ID: id, Reason: "KEY_RETIRED", Message: message}
}

// describeKey is a stored key as clients see it.
func (s *Server) describeKey(info store.KeyInfo, k keyring.Key) *tacitv1.EvaluationKeyInfo {
	out := &tacitv1.EvaluationKeyInfo{
		KeyId: info.ID[:], Size: uint64(info.Size), Parameters: s.parameters(), CreateTime: timestamp(info.Uploaded),
		State: tacitv1.KeyState_KEY_STATE_ACTIVE,
	}
	if k.Retired {
		out.State = tacitv1.KeyState_KEY_STATE_RETIRED
	}
	if k.Parameters != (store.Digest{}) {
		out.Parameters = &tacitv1.Parameters{Fingerprint: k.Parameters[:]}
		if p, err := fhe.PresetByFingerprint(k.Parameters); err == nil {
			out.Parameters.Name = p.Name()
		} else if p := leveled.ByFingerprint(k.Parameters); p != nil {
			out.Parameters.Name = p.Name()
		}
	}
	if k.Public != (store.Digest{}) {
		out.PublicKeyDigest = k.Public[:]
	}
	if k.Migration != nil {
		out.MigratedTo = k.Migration.To[:]
	}
	return out
}

// GetKey describes an evaluation key.
func (s *Server) GetKey(ctx context.Context, req *tacitv1.GetKeyRequest) (*tacitv1.EvaluationKeyInfo, error) {
	id, err := s.keyFor(ctx, req.KeyId, s.known)
	if err != nil {
		return nil, err
	}
	k, err := s.ring.Get(ctx, id)
	return s.keyInfo(ctx, id, k, err)
}

// keyInfo describes a key after a change of what is known of it.
func (s *Server) keyInfo(ctx context.Context, id fhe.KeyID, k keyring.Key, err error) (*tacitv1.EvaluationKeyInfo, error) {
	if err != nil {
		return nil, err
	}
	info, err := s.keys.Stat(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.describeKey(info, k), nil
}

// RetireKey ends the use of an evaluation key.
func (s *Server) RetireKey(ctx context.Context, req *tacitv1.RetireKeyRequest) (*tacitv1.EvaluationKeyInfo, error) {
	return s.changeKey(ctx, req.KeyId, s.ring.Retire)
}

// ActivateKey undoes RetireKey.
func (s *Server) ActivateKey(ctx context.Context, req *tacitv1.ActivateKeyRequest) (*tacitv1.EvaluationKeyInfo, error) {
	return s.changeKey(ctx, req.KeyId, s.ring.Activate)
}

func (s *Server) changeKey(ctx context.Context, raw []byte, change func(context.Context, [32]byte) (keyring.Key, error)) (*tacitv1.EvaluationKeyInfo, error) {
	id, err := s.keyFor(ctx, raw, s.leads)
	if err != nil {
		return nil, err
	}
	k, err := change(ctx, id)
	if err == nil {
		s.opts.Log.InfoContext(ctx, "evaluation key changed", "key", id, "retired", k.Retired)
	}
	return s.keyInfo(ctx, id, k, err)
}

// maxPublicKey bounds the container of a public key in bytes.
const maxPublicKey = 1 << 20

// UploadPublicKey stores the public key that belongs to an evaluation key. That it does
// is the word of whoever uploads it, who could as well have uploaded another evaluation
// key.
func (s *Server) UploadPublicKey(ctx context.Context, req *tacitv1.UploadPublicKeyRequest) (*tacitv1.PublicKeyInfo, error) {
	if n := len(req.Container); n > maxPublicKey {
		return nil, refuse(codes.InvalidArgument, "TOO_LARGE", "container", "%d bytes, at most %d are allowed", n, maxPublicKey)
	}
	pk, err := fhe.UnmarshalPublicKey(req.Container)
	if err != nil {
		return nil, err
	}
	if err := same("parameters", pk.Parameters().Fingerprint(), s.opts.Params.Fingerprint()); err != nil {
		return nil, refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "container", "a public key for %s, this service computes with %s", pk.Parameters().Name(), s.opts.Params.Name())
	}
	id := pk.ID()
	callOf(ctx).note("key", keyName(id))
	if err := s.leads(ctx, id); err != nil {
		return nil, err
	}
	k, err := s.ring.SetPublic(ctx, id, req.Container)
	if err != nil {
		return nil, err
	}
	return &tacitv1.PublicKeyInfo{KeyId: id[:], Digest: k.Public[:], Size: uint64(len(req.Container))}, nil
}

// GetPublicKey sends the public key that belongs to an evaluation key.
func (s *Server) GetPublicKey(ctx context.Context, req *tacitv1.GetPublicKeyRequest) (*tacitv1.GetPublicKeyResponse, error) {
	id, err := s.keyFor(ctx, req.KeyId, s.known)
	if err != nil {
		return nil, err
	}
	container, err := s.ring.Public(ctx, id)
	if err != nil {
		return nil, err
	}
	return &tacitv1.GetPublicKeyResponse{Container: container}, nil
}

// StartMigration begins to move the ciphertexts of one key to another.
func (s *Server) StartMigration(ctx context.Context, req *tacitv1.StartMigrationRequest) (*tacitv1.Migration, error) {
	key, err := checkMigrationKey(bytes.NewReader(req.MigrationKey))
	if err != nil {
		return nil, err
	}
	return s.startMigration(ctx, key, bytes.NewReader(req.MigrationKey))
}

// UploadMigrationKey does what StartMigration does, with a migration key that arrives in
// chunks. What has arrived when the stream breaks off can be continued.
func (s *Server) UploadMigrationKey(stream grpc.ClientStreamingServer[tacitv1.UploadMigrationKeyRequest, tacitv1.Migration]) error {
	header, done, err := beginUpload(s, stream.Context(), stream.Recv, (*tacitv1.UploadMigrationKeyRequest).GetHeader)
	if err != nil {
		return err
	}
	defer done()
	if len(header.Sha256) != sha256.Size {
		return refuse(codes.InvalidArgument, "BAD_DIGEST", "header.sha256", "%d bytes, want %d", len(header.Sha256), sha256.Size)
	}
	digest := [32]byte(header.Sha256)
	ctx := stream.Context()
	migration, err := s.begunWith(ctx, digest)
	if err == nil && migration == nil {
		next := chunksOf(stream.Recv, func(m *tacitv1.UploadMigrationKeyRequest) ([]byte, bool) {
			_, ok := m.Content.(*tacitv1.UploadMigrationKeyRequest_Chunk)
			return m.GetChunk(), ok
		})
		migration, err = receiveKey(s, ctx, digest, header.Size, header.Offset, next, func(in *partialReader) (*tacitv1.Migration, error) {
			key, err := checkMigrationKey(in)
			if err == nil && key.digest != digest {
				err = faultOf(&store.DigestError{Want: digest, Got: key.digest}).at("header.sha256")
			}
			if err != nil {
				return nil, err
			}
			return s.startMigration(ctx, key, io.NewSectionReader(in.p.file, 0, in.p.n))
		})
	}
	if err != nil {
		return err
	}
	return stream.SendAndClose(migration)
}

// begunWith returns the migration that was started with the migration key of a digest, unless
// that is needed and damaged, if the caller of ctx could have started it, or nil.
func (s *Server) begunWith(ctx context.Context, digest [32]byte) (*tacitv1.Migration, error) {
	all, err := s.ring.All(ctx)
	if err != nil {
		return nil, err
	}
	for from, k := range all {
		m := k.Migration
		if m == nil || m.Key != digest || s.leads(ctx, from) != nil || s.leads(ctx, fhe.KeyID(m.To)) != nil {
			continue
		}
		if m.State != keyring.Confirmed {
			if _, err := s.ring.MigrationKey(ctx, from, m); err != nil {
				continue
			}
		}
		callOf(ctx).note("key", keyName(from), "to", keyName(m.To))
		return describeMigration(from, m), nil
	}
	return nil, nil
}

// startMigration begins the migration of a key that was checked, whose container is stored.
func (s *Server) startMigration(ctx context.Context, key migrationKeyInfo, container io.Reader) (*tacitv1.Migration, error) {
	from, to := key.from.id, key.to.id
	callOf(ctx).note("key", keyName(from), "to", keyName(to))
	if err := s.leads(ctx, from); err != nil {
		return nil, err
	}
	if err := s.leads(ctx, to); err != nil {
		return nil, err
	}
	if err := s.mayMigrate(ctx, key); err != nil {
		return nil, err
	}
	k, err := s.ring.Migrate(ctx, from, to, key.digest, container, time.Now())
	if err != nil {
		return nil, err
	}
	s.opts.Log.InfoContext(ctx, "migration started", "key", from, "to", to)
	select {
	case s.migrating <- struct{}{}:
	default:
	}
	return describeMigration(from, k.Migration), nil
}

// mayMigrate refuses a migration between keys that have other parameters than was said, to
// a key that is retired, and from one whose own ciphertexts have an older version that
// is not confirmed.
func (s *Server) mayMigrate(ctx context.Context, key migrationKeyInfo) error {
	all, err := s.ring.All(ctx)
	if err != nil {
		return err
	}
	for _, k := range []keyOf{key.from, key.to} {
		have := all[k.id].Parameters
		if have == (store.Digest{}) {
			have = s.opts.Params.Fingerprint()
		}
		if have != k.parameters {
			return refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "migration_key", "the key %x does not have the parameters %s", k.id, k.name)
		}
	}
	if to := all[key.to.id]; to.Retired {
		return retired(key.to.id, to)
	}
	for id, k := range all {
		if m := k.Migration; m != nil && m.To == store.Digest(key.from.id) && m.State != keyring.Confirmed {
			return &keyring.StateError{ID: key.from.id, Reason: "MIGRATION_UNCONFIRMED", Message: "the migration to it from the key " + hex.EncodeToString(id[:]) + " is not confirmed"}
		}
	}
	return nil
}

// GetMigration tells how far a migration is.
func (s *Server) GetMigration(ctx context.Context, req *tacitv1.GetMigrationRequest) (*tacitv1.Migration, error) {
	id, err := s.keyFor(ctx, req.KeyId, s.known)
	if err != nil {
		return nil, err
	}
	k, err := s.ring.Get(ctx, id)
	if err == nil && k.Migration == nil {
		err = &keyring.NoneError{ID: id, What: "migration"}
	}
	if err != nil {
		return nil, err
	}
	out := describeMigration(id, k.Migration)
	out.Failures, err = s.ownFailures(ctx, out.Failures)
	return out, err
}

// ownFailures are those of ciphertexts that the caller of ctx has any right on: that
// others exist, a right on their key does not tell.
func (s *Server) ownFailures(ctx context.Context, all []*tacitv1.MigrationFailure) (own []*tacitv1.MigrationFailure, err error) {
	for _, f := range all {
		rights, err := s.lists.Rights(ctx, callOf(ctx).principal, access.Ciphertext([32]byte(f.Handle)))
		if err != nil {
			return nil, err
		}
		if rights != 0 {
			own = append(own, f)
		}
	}
	return own, nil
}

// ConfirmMigration drops the old versions of what was moved, and the migration key.
func (s *Server) ConfirmMigration(ctx context.Context, req *tacitv1.ConfirmMigrationRequest) (*tacitv1.Migration, error) {
	id, err := s.keyFor(ctx, req.KeyId, s.leads)
	if err != nil {
		return nil, err
	}
	k, err := s.ring.Change(ctx, id, func(k *keyring.Key) error {
		switch {
		case k.Migration == nil:
			return &keyring.NoneError{ID: id, What: "migration"}
		case k.Migration.State == keyring.Running:
			return &keyring.StateError{ID: id, Reason: "MIGRATION_RUNNING", Message: "the migration has not ended"}
		}
		k.Migration.State = keyring.Confirmed
		return nil
	})
	if err != nil {
		return nil, err
	}
	// After a crash in between, or an error, the call is made again.
	if err := s.ciphertexts.DropPrevious(ctx, id); err != nil {
		return nil, err
	}
	if err := s.ring.DropMigrationKey(ctx, id, k.Migration); err != nil {
		return nil, err
	}
	return describeMigration(id, k.Migration), nil
}

var migrationStates = map[keyring.State]tacitv1.MigrationState{
	keyring.Running:   tacitv1.MigrationState_MIGRATION_STATE_RUNNING,
	keyring.Done:      tacitv1.MigrationState_MIGRATION_STATE_DONE,
	keyring.Confirmed: tacitv1.MigrationState_MIGRATION_STATE_CONFIRMED,
}

func describeMigration(from fhe.KeyID, m *keyring.Migration) *tacitv1.Migration {
	out := &tacitv1.Migration{
		FromKeyId: from[:], ToKeyId: m.To[:], State: migrationStates[m.State], Moved: m.Moved, Waiting: m.Waiting, Failed: m.Failed,
		CreateTime: timestamp(m.Created), EndTime: timestamp(m.Ended),
	}
	for _, f := range m.Failures {
		out.Failures = append(out.Failures, &tacitv1.MigrationFailure{Handle: slices.Clone(f.Handle[:]), Message: f.Message})
	}
	return out
}

// keyFault is an error of the keyring as clients see it, or nil.
func keyFault(err error) *fault {
	var (
		state     *keyring.StateError
		exists    *keyring.ExistsError
		none      *keyring.NoneError
		migration *fhe.MigrationError
		program   *noProgramError
	)
	switch {
	case errors.As(err, &program):
		return refuse(codes.NotFound, "UNKNOWN_PROGRAM", "", "%v", program)
	case errors.As(err, &state):
		return refuse(codes.FailedPrecondition, state.Reason, "key_id", "%v", state)
	case errors.As(err, &exists):
		return refuse(codes.AlreadyExists, "KEY_EXISTS", "key_id", "%v", exists)
	case errors.As(err, &none):
		return refuse(codes.NotFound, "NOT_THERE", "key_id", "%v", none)
	case errors.As(err, &migration):
		return refuse(codes.FailedPrecondition, "CANNOT_MIGRATE", "migration_key", "%v", migration)
	}
	return nil
}
