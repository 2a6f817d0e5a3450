package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Change replaces the value of a key by what edit makes of it, again when somebody else
// was faster. edit is given nil for a key without a value, and returns nil to leave it as
// it is; its errors are returned as they are.
func (b *Bucket) Change(ctx context.Context, key string, edit func(old []byte) ([]byte, error)) error {
	for {
		entry, err := b.Get(ctx, key)
		if err != nil {
			return err
		}
		var old []byte
		if entry != nil {
			old = entry.Value()
		}
		value, err := edit(old)
		if err != nil || value == nil {
			return err
		}
		if entry == nil {
			_, err = b.KV.Create(ctx, key, value)
		} else {
			_, err = b.KV.Update(ctx, key, value, entry.Revision())
		}
		switch {
		case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			continue
		case err != nil:
			return fmt.Errorf("store: writing %s/%s: %w", b.KV.Bucket(), key, err)
		}
		return nil
	}
}
