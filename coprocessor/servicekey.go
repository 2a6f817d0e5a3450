package coprocessor

import (
	"context"
	"crypto/ed25519"
	"slices"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/reload"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// serviceKey is the key that signs receipts. Whoever replaces its file, which servers
// may share, replaces it in every process.
type serviceKey struct {
	file *reload.Value[ed25519.PrivateKey]

	mu     sync.Mutex
	listed [32]byte // the public key that is known to be listed
}

// openServiceKey reads the key that signs receipts, or makes one, and lists it.
func (s *Server) openServiceKey(ctx context.Context) error {
	read := receipt.LoadKey
	var err error
	s.signer.file, err = reload.Open(func() (ed25519.PrivateKey, error) {
		defer func() { read = receipt.ReadKey }() // a file that is gone is not made anew
		return read(s.opts.ServiceKey)
	}, func(err error) {
		s.opts.Log.Error("the service key cannot be read, it stays as it was", "error", err)
	}, s.opts.ServiceKey)
	if err != nil {
		return err
	}
	_, err = s.signing(ctx, s.signer.file.Get())
	return err
}

// signing returns a key that signs receipts once its public key is listed, so that nobody
// sees a signature of a key that is not.
func (s *Server) signing(ctx context.Context, key ed25519.PrivateKey) (ed25519.PrivateKey, error) {
	s.signer.mu.Lock()
	defer s.signer.mu.Unlock()
	public := receipt.PublicKey(key)
	if s.signer.listed == public {
		return key, nil
	}
	if err := s.ring.Sign(ctx, public, s.signer.listed, time.Now()); err != nil {
		return nil, err
	}
	if s.signer.listed != ([32]byte{}) {
		s.opts.Log.InfoContext(ctx, "service key replaced", "key", keyName(public))
	}
	s.signer.listed = public
	return key, nil
}

// serviceKeys are the public keys of receipts, that of this process first.
func (s *Server) serviceKeys(ctx context.Context) ([]*tacitv1.ServiceKey, error) {
	key, err := s.signing(ctx, s.signer.file.Get())
	if err != nil {
		return nil, err
	}
	keys, err := s.ring.ServiceKeys(ctx)
	if err != nil {
		return nil, err
	}
	own := store.Digest(receipt.PublicKey(key))
	if i := slices.IndexFunc(keys, func(k keyring.ServiceKey) bool { return k.Public == own }); i > 0 {
		present := keys[i]
		keys = slices.Insert(slices.Delete(keys, i, i+1), 0, present)
	}
	out := make([]*tacitv1.ServiceKey, len(keys))
	for i := range keys {
		out[i] = &tacitv1.ServiceKey{PublicKey: keys[i].Public[:], RetireTime: timestamp(keys[i].Retired)}
	}
	return out, nil
}

// RotateServiceKey makes a new key to sign receipts with. Receipts that are being signed
// may have either signature.
func (s *Server) RotateServiceKey(ctx context.Context, _ *tacitv1.RotateServiceKeyRequest) (*tacitv1.RotateServiceKeyResponse, error) {
	s.rotating.Lock()
	defer s.rotating.Unlock()
	key, err := receipt.NewKey()
	if err != nil {
		return nil, err
	}
	// It is listed before it is used. A key that a crash keeps from being used stays
	// listed, and nobody has it.
	if err := s.ring.Sign(ctx, receipt.PublicKey(key), receipt.PublicKey(s.signer.file.Now()), time.Now()); err != nil {
		return nil, err
	}
	if err := receipt.ReplaceKey(s.opts.ServiceKey, key); err != nil {
		return nil, err
	}
	s.signer.file.Now()
	keys, err := s.serviceKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &tacitv1.RotateServiceKeyResponse{Keys: keys}, nil
}
