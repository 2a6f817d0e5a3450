package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func keyCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "List, retire and replace evaluation keys on a server",
		Long: `An evaluation key on a server is active, or retired: then it takes no new jobs and no
new ciphertexts; jobs that are queued are computed, and ciphertexts stay and can be
fetched.

A key is replaced in four steps. 'tacit keygen' makes the new keys. 'tacit key rotate'
makes, from both secret keys, a migration key. 'tacit key migrate' gives that to the
server, which retires the old key and moves its ciphertexts to the new one without
reading them: handles and rights stay, what they name gets the new key and another
digest. 'tacit key confirm' drops the old versions and the migration key.`,
	}
	cmd.AddCommand(
		keyListCommand(u), keyStateCommand(u, "activate", "Undo the retirement of a key", (*client.Client).ActivateKey),
		keyStateCommand(u, "retire", "End the use of a key for new jobs and ciphertexts", (*client.Client).RetireKey),
		keyPublicCommand(u), keyRotateCommand(u), keyMigrateCommand(u), keyMigrationCommand(u), keyConfirmCommand(u), keyServiceCommand(u),
	)
	return cmd
}

// storedKeyView is an evaluation key on a server.
type storedKeyView struct {
	KeyID      string     `json:"key_id"`
	State      string     `json:"state"`
	Parameters string     `json:"parameters"`
	Size       uint64     `json:"size"`
	Created    *time.Time `json:"created,omitempty"`
	PublicKey  string     `json:"public_key_sha256,omitempty"`
	MigratedTo string     `json:"migrated_to,omitempty"`
}

const storedKeyFields = "key_id, state, parameters, size, created, public_key_sha256, migrated_to"

func newStoredKeyView(k *tacitv1.EvaluationKeyInfo) storedKeyView {
	return storedKeyView{
		KeyID: hex.EncodeToString(k.KeyId), State: strings.ToLower(strings.TrimPrefix(k.State.String(), "KEY_STATE_")),
		Parameters: k.GetParameters().GetName(), Size: k.Size, Created: timeOf(k.CreateTime),
		PublicKey: hex.EncodeToString(k.PublicKeyDigest), MigratedTo: hex.EncodeToString(k.MigratedTo),
	}
}

func (u *ui) printKeys(views ...storedKeyView) {
	u.table(func(row func(...any)) {
		for _, v := range views {
			about := ""
			if v.PublicKey != "" {
				about = "has a public key"
			}
			if v.MigratedTo != "" {
				about = "migrated to " + v.MigratedTo[:16] + "…"
			}
			row(v.KeyID, v.State, v.Parameters, size(int64(v.Size)), about)
		}
	})
}

func keyListCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "list",
		Short: "List the evaluation keys that we have rights on",
		Long:  "Lists evaluation keys.\n\nJSON: a list of " + storedKeyFields + ".",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) ([]storedKeyView, error) {
		views := []storedKeyView{}
		err := c.Keys(ctx, func(k *tacitv1.EvaluationKeyInfo) bool {
			views = append(views, newStoredKeyView(k))
			return true
		})
		return views, err
	}, func(views []storedKeyView) { u.printKeys(views...) })
}

// parseKeyID reads the id of a key in an argument.
func parseKeyID(cmd *cobra.Command, text string) (fhe.KeyID, error) {
	h, err := graph.ParseHandle(text)
	if err != nil {
		return fhe.KeyID{}, wrongUsage(cmd, "%q is no key id: 64 hexadecimal digits, with or without 0x", text)
	}
	return fhe.KeyID(h), nil
}

// keyArgument has a command read its first argument as the id of a key.
func keyArgument(cmd *cobra.Command, id *fhe.KeyID) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.PreRunE = func(cmd *cobra.Command, args []string) (err error) {
		*id, err = parseKeyID(cmd, args[0])
		return err
	}
	return cmd
}

// keyStateCommand is a command that changes the state of a key.
func keyStateCommand(u *ui, name, short string, change func(*client.Client, context.Context, fhe.KeyID) (*tacitv1.EvaluationKeyInfo, error)) *cobra.Command {
	var id fhe.KeyID
	return request(u, keyArgument(&cobra.Command{
		Use:   name + " KEYID",
		Short: short,
		Long: short + `. It takes the first owner of the key, who uploaded it, or an
administrator.

JSON: ` + storedKeyFields + ".",
	}, &id), func(ctx context.Context, c *client.Client, _ []string) (v storedKeyView, err error) {
		info, err := change(c, ctx, id)
		if err == nil {
			v = newStoredKeyView(info)
		}
		return v, err
	}, func(v storedKeyView) { u.printKeys(v) })
}

// publicKeyView is a public key that was fetched.
type publicKeyView struct {
	KeyID  string `json:"key_id"`
	SHA256 string `json:"sha256"`
	Size   int    `json:"size"`
	File   string `json:"file"`
}

func keyPublicCommand(u *ui) *cobra.Command {
	var id fhe.KeyID
	var want *[32]byte
	var out, digest string
	cmd := keyArgument(&cobra.Command{
		Use:   "public KEYID --out FILE",
		Short: "Fetch the public key that belongs to an evaluation key",
		Long: `Fetches the public key, with which 'tacit encrypt' makes ciphertexts for that
evaluation key. 'tacit upload public.key' puts it there.

Whoever uploaded the evaluation key says which public key belongs to it, and the
server hands it on: to be sure that only the holder of the secret key can read what
you encrypt, compare its SHA-256, with --sha256, with what that holder tells you.

JSON: key_id, sha256, size, file.`,
	}, &id)
	argument := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if err := argument(cmd, args); err != nil || digest == "" {
			return err
		}
		h, err := graph.ParseHandle(digest)
		if err != nil {
			return wrongUsage(cmd, "--sha256: want 64 hexadecimal digits")
		}
		want = (*[32]byte)(&h)
		return nil
	}
	request(u, cmd, func(ctx context.Context, c *client.Client, _ []string) (publicKeyView, error) {
		container, err := c.PublicKey(ctx, id, want)
		if err != nil {
			return publicKeyView{}, err
		}
		sum := sha256.Sum256(container)
		return publicKeyView{id.String(), hex.EncodeToString(sum[:]), len(container), out}, keyfile.WritePublic(out, container)
	}, func(v publicKeyView) { u.printf("%s  public key  %s  sha256 %s\n", v.KeyID, v.File, v.SHA256) })
	cmd.Flags().StringVarP(&out, "out", "o", "public.key", "file for the public key")
	cmd.Flags().StringVar(&digest, "sha256", "", "SHA-256 that it must have")
	return cmd
}
