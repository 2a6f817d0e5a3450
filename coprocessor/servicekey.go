package coprocessor

import (
	"context"
	"slices"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// openServiceKey reads the key that signs receipts, or makes one, and lists it.
func (s *Server) openServiceKey(ctx context.Context) error {
	key, err := receipt.LoadKey(s.opts.ServiceKey)
	if err != nil {
		return err
	}
	s.signer.Store(&key)
	return s.ring.Sign(ctx, receipt.PublicKey(key), [32]byte{}, time.Now())
}

// serviceKeys are the public keys of receipts, that of this process first.
func (s *Server) serviceKeys(ctx context.Context) ([]*tacitv1.ServiceKey, error) {
	keys, err := s.ring.ServiceKeys(ctx)
	if err != nil {
		return nil, err
	}
	own := keyring.Digest(receipt.PublicKey(*s.signer.Load()))
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
	if err := s.ring.Sign(ctx, receipt.PublicKey(key), receipt.PublicKey(*s.signer.Load()), time.Now()); err != nil {
		return nil, err
	}
	if err := receipt.ReplaceKey(s.opts.ServiceKey, key); err != nil {
		return nil, err
	}
	s.signer.Store(&key)
	keys, err := s.serviceKeys(ctx)
	if err != nil {
		return nil, err
	}
	s.opts.Log.InfoContext(ctx, "service key replaced", "key", keys[0].PublicKey)
	return &tacitv1.RotateServiceKeyResponse{Keys: keys}, nil
}
