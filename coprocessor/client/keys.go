package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/tacit-fhe/tacit/fhe"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Keys calls visit for the evaluation keys that we have rights on, in the order of
// their ids, until it returns false.
func (c *Client) Keys(ctx context.Context, visit func(*tacitv1.EvaluationKeyInfo) bool) error {
	for token := ""; ; {
		resp, err := retry(ctx, c, func() (*tacitv1.ListKeysResponse, error) {
			return c.service.ListKeys(ctx, &tacitv1.ListKeysRequest{PageToken: token})
		})
		if err != nil {
			return err
		}
		for _, k := range resp.Keys {
			if !visit(k) {
				return nil
			}
		}
		if token = resp.NextPageToken; token == "" {
			return nil
		}
	}
}

// Key describes an evaluation key.
func (c *Client) Key(ctx context.Context, id fhe.KeyID) (*tacitv1.EvaluationKeyInfo, error) {
	return retry(ctx, c, func() (*tacitv1.EvaluationKeyInfo, error) {
		return c.service.GetKey(ctx, &tacitv1.GetKeyRequest{KeyId: id[:]})
	})
}

// RetireKey ends the use of an evaluation key for new jobs and ciphertexts.
func (c *Client) RetireKey(ctx context.Context, id fhe.KeyID) (*tacitv1.EvaluationKeyInfo, error) {
	return retry(ctx, c, func() (*tacitv1.EvaluationKeyInfo, error) {
		return c.service.RetireKey(ctx, &tacitv1.RetireKeyRequest{KeyId: id[:]})
	})
}

// ActivateKey undoes RetireKey.
func (c *Client) ActivateKey(ctx context.Context, id fhe.KeyID) (*tacitv1.EvaluationKeyInfo, error) {
	return retry(ctx, c, func() (*tacitv1.EvaluationKeyInfo, error) {
		return c.service.ActivateKey(ctx, &tacitv1.ActivateKeyRequest{KeyId: id[:]})
	})
}

// UploadPublicKey stores the container of a public key with the evaluation key that it
// belongs to.
func (c *Client) UploadPublicKey(ctx context.Context, container []byte) (*tacitv1.PublicKeyInfo, error) {
	if err := refuseSecret(bytes.NewReader(container)); err != nil {
		return nil, err
	}
	return retry(ctx, c, func() (*tacitv1.PublicKeyInfo, error) {
		return c.service.UploadPublicKey(ctx, &tacitv1.UploadPublicKeyRequest{Container: container})
	})
}

// PublicKey returns the container of the public key that belongs to an evaluation key,
// and checks that it says so and, unless digest is nil, that it has this SHA-256. That
// only the holder of the key's secret can read what it encrypts is, without a digest
// from that holder, the word of whoever uploaded it, and of the service.
func (c *Client) PublicKey(ctx context.Context, id fhe.KeyID, digest *[32]byte) ([]byte, error) {
	resp, err := retry(ctx, c, func() (*tacitv1.GetPublicKeyResponse, error) {
		return c.service.GetPublicKey(ctx, &tacitv1.GetPublicKeyRequest{KeyId: id[:]})
	})
	if err != nil {
		return nil, err
	}
	what := "public key of " + id.String()
	pk, err := fhe.UnmarshalPublicKey(resp.Container)
	if err != nil {
		return nil, &MismatchError{what, err.Error()}
	}
	if pk.ID() != id {
		return nil, &MismatchError{what, "the service sent that of " + pk.ID().String()}
	}
	if got := sha256.Sum256(resp.Container); digest != nil && got != *digest {
		return nil, &MismatchError{what, fmt.Sprintf("its SHA-256 is %x, want %x", got, *digest)}
	}
	return resp.Container, nil
}

// StartMigration begins to move the ciphertexts of one key to another, with the
// container of a migration key. The same migration again changes nothing. A container of up
// to ChunkSize bytes goes in one message, which services of before streams take too; a larger
// one is uploaded, and continued, as UploadEvaluationKey does. progress, if not nil, is told how
// many bytes of that have arrived or gone.
func (c *Client) StartMigration(ctx context.Context, container []byte, progress func(done, total int64)) (*tacitv1.Migration, error) {
	if err := refuseSecret(bytes.NewReader(container)); err != nil {
		return nil, err
	}
	size := int64(len(container))
	if size <= ChunkSize {
		return retry(ctx, c, func() (*tacitv1.Migration, error) {
			return c.service.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: container})
		})
	}
	digest := sha256.Sum256(container)
	return resume(ctx, c, digest[:], size, func(ctx context.Context, offset int64) (*tacitv1.Migration, error) {
		first := &tacitv1.UploadMigrationKeyRequest{Content: &tacitv1.UploadMigrationKeyRequest_Header{
			Header: &tacitv1.MigrationKeyHeader{Sha256: digest[:], Size: uint64(size), Offset: uint64(offset)},
		}}
		ctx, err := c.identity.stream(ctx, tacitv1.Coprocessor_UploadMigrationKey_FullMethodName, first)
		if err != nil {
			return nil, err
		}
		stream, err := c.service.UploadMigrationKey(ctx)
		if err != nil {
			return nil, err
		}
		return send(stream, bytes.NewReader(container), offset, size, first,
			func(chunk []byte) *tacitv1.UploadMigrationKeyRequest {
				return &tacitv1.UploadMigrationKeyRequest{Content: &tacitv1.UploadMigrationKeyRequest_Chunk{Chunk: chunk}}
			}, progress)
	})
}

// Migration tells how far the migration from a key is.
func (c *Client) Migration(ctx context.Context, from fhe.KeyID) (*tacitv1.Migration, error) {
	return retry(ctx, c, func() (*tacitv1.Migration, error) {
		return c.service.GetMigration(ctx, &tacitv1.GetMigrationRequest{KeyId: from[:]})
	})
}

// ConfirmMigration drops the old versions of what a migration has moved.
func (c *Client) ConfirmMigration(ctx context.Context, from fhe.KeyID) (*tacitv1.Migration, error) {
	return retry(ctx, c, func() (*tacitv1.Migration, error) {
		return c.service.ConfirmMigration(ctx, &tacitv1.ConfirmMigrationRequest{KeyId: from[:]})
	})
}

// RotateServiceKey makes the service sign receipts under a new key, and returns all its
// public keys, the new one first. It is not tried again by itself: each call makes a key.
func (c *Client) RotateServiceKey(ctx context.Context) ([]*tacitv1.ServiceKey, error) {
	resp, err := c.service.RotateServiceKey(ctx, &tacitv1.RotateServiceKeyRequest{})
	if err != nil {
		return nil, c.errorOf(err)
	}
	return resp.Keys, nil
}
