package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// migrationKeyInfo is what there is to know of a migration key before it is used.
type migrationKeyInfo struct {
	digest   store.Digest // SHA-256 of the container
	from, to keyOf
}

// keyOf is an evaluation key and the parameters that it has to have.
type keyOf struct {
	id         fhe.KeyID
	parameters store.Digest // fingerprint
	name       string       // of the parameters
}

// checkMigrationKey decodes a migration key, for integers or for vectors, to the end of r, and
// keeps nothing of it.
func checkMigrationKey(r io.Reader) (k migrationKeyInfo, err error) {
	h := sha256.New()
	r, kind, err := kindOf(io.TeeReader(r, h))
	if err != nil {
		return k, err
	}
	if kind == codec.LeveledMigrationKey {
		p, from, to, err := leveled.CheckMigrationKey(r, nil)
		if err != nil {
			return k, err
		}
		k.from, k.to = keyOf{from, p.Fingerprint(), p.Name()}, keyOf{to, p.Fingerprint(), p.Name()}
	} else {
		data, err := io.ReadAll(io.LimitReader(r, fhe.MaxMigrationKey+1))
		if err != nil {
			return k, err
		}
		key, err := fhe.UnmarshalMigrationKey(data)
		if err != nil {
			return k, err
		}
		from, to := key.FromParameters(), key.ToParameters()
		k.from, k.to = keyOf{key.From(), from.Fingerprint(), from.Name()}, keyOf{key.To(), to.Fingerprint(), to.Name()}
	}
	h.Sum(k.digest[:0])
	return k, nil
}

// mover turns the records of ciphertexts of an old key into such of a new one. The same
// record gives the same bytes everywhere. It is safe for concurrent use.
type mover interface {
	move(ctx context.Context, h graph.Handle, record []byte) ([]byte, error)
	close()
}

// newMover prepares the migration key of a migration.
func (s *Server) newMover(ctx context.Context, from fhe.KeyID, m *keyring.Migration) (mover, error) {
	container, err := s.ring.MigrationKey(ctx, from, m)
	if err != nil {
		return nil, err
	}
	r, kind, err := kindOf(bytes.NewReader(container))
	if err != nil {
		return nil, err
	}
	if kind == codec.LeveledMigrationKey {
		key, err := leveled.ReadMigrationKey(r, nil)
		if err != nil {
			return nil, err
		}
		return vectorMover{leveled.NewMigrator(key)}, nil
	}
	key, err := fhe.UnmarshalMigrationKey(container)
	if err != nil {
		return nil, err
	}
	engine, release, err := s.engines.acquire(ctx, key.To())
	if err != nil {
		return nil, err
	}
	integers, ok := engine.(*integerEngine)
	if !ok {
		release()
		return nil, fmt.Errorf("the key %x is one of vectors", m.To)
	}
	migrator, err := bootstrap.NewMigrator(key, integers.boot)
	if err != nil {
		release()
		return nil, err
	}
	return &integerMover{key, migrator, integers.packer, release}, nil
}

// integerMover bootstraps integers under the new evaluation key.
type integerMover struct {
	key      *fhe.MigrationKey
	migrator *bootstrap.Migrator
	packer   integer.Packer
	release  func() // gives the engine of the new key back
}

func (m *integerMover) move(ctx context.Context, h graph.Handle, record []byte) ([]byte, error) {
	list, err := storedList(record, h, m.key.FromParameters())
	if err != nil {
		return nil, err
	}
	value := list.Value(0)
	blocks, err := m.migrator.Migrate(ctx, value.Blocks)
	if err != nil {
		return nil, err
	}
	moved, err := integer.Pack(m.key.ToParameters(), m.key.To(), m.packer, &integer.Value{Type: value.Type, Blocks: blocks})
	if err != nil {
		return nil, err
	}
	return moved.MarshalBinary()
}

// close gives the memory of devices back at once, as integerEngine.close does.
func (m *integerMover) close() {
	m.migrator.Close()
	m.release()
}

// vectorMover switches the key of vectors, which takes no evaluation key.
type vectorMover struct{ migrator *leveled.Migrator }

func (m vectorMover) move(_ context.Context, h graph.Handle, record []byte) ([]byte, error) {
	vector, err := storedVector(record, h)
	if err != nil {
		return nil, err
	}
	moved, err := m.migrator.Migrate(vector)
	if err != nil {
		return nil, err
	}
	return leveled.MarshalCiphertexts(moved)
}

func (m vectorMover) close() {}
