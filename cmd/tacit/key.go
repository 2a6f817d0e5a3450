package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
digest. 'tacit key confirm' drops the old versions.`,
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
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the evaluation keys that we have rights on",
		Long:  "Lists evaluation keys.\n\nJSON: a list of " + storedKeyFields + ".",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			views := []storedKeyView{}
			if err := c.Keys(cmd.Context(), func(k *tacitv1.EvaluationKeyInfo) bool {
				views = append(views, newStoredKeyView(k))
				return true
			}); err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(views)
			}
			u.printKeys(views...)
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// parseKeyID reads the id of a key in an argument.
func parseKeyID(cmd *cobra.Command, text string) (fhe.KeyID, error) {
	h, err := graph.ParseHandle(text)
	if err != nil {
		return fhe.KeyID{}, wrongUsage(cmd, "%q is no key id: 64 hexadecimal digits, with or without 0x", text)
	}
	return fhe.KeyID(h), nil
}

// keyStateCommand is a command that changes the state of a key.
func keyStateCommand(u *ui, name, short string, change func(*client.Client, context.Context, fhe.KeyID) (*tacitv1.EvaluationKeyInfo, error)) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name + " KEYID",
		Short: short,
		Long: short + `. It takes the first owner of the key, who uploaded it, or an
administrator.

JSON: ` + storedKeyFields + ".",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseKeyID(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			info, err := change(c, cmd.Context(), id)
			if err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(newStoredKeyView(info))
			}
			u.printKeys(newStoredKeyView(info))
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func keyPublicCommand(u *ui) *cobra.Command {
	var conn connection
	var out, digest string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "public KEYID --out FILE",
		Short: "Fetch the public key that belongs to an evaluation key",
		Long: `Fetches the public key, with which 'tacit encrypt' makes ciphertexts for that
evaluation key. 'tacit upload public.key' puts it there.

Whoever uploaded the evaluation key says which public key belongs to it, and the
server hands it on: to be sure that only the holder of the secret key can read what
you encrypt, compare its SHA-256, with --sha256, with what that holder tells you.

JSON: key_id, sha256, size, file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseKeyID(cmd, args[0])
			if err != nil {
				return err
			}
			var want *[32]byte
			if digest != "" {
				h, err := graph.ParseHandle(digest)
				if err != nil {
					return wrongUsage(cmd, "--sha256: want 64 hexadecimal digits")
				}
				want = (*[32]byte)(&h)
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			container, err := c.PublicKey(cmd.Context(), id, want)
			if err != nil {
				return err
			}
			if err := keyfile.WritePublic(out, container); err != nil {
				return err
			}
			sum := sha256.Sum256(container)
			if asJSON {
				return u.printJSON(struct {
					KeyID  string `json:"key_id"`
					SHA256 string `json:"sha256"`
					Size   int    `json:"size"`
					File   string `json:"file"`
				}{id.String(), hex.EncodeToString(sum[:]), len(container), out})
			}
			u.printf("%s  public key  %s  sha256 %x\n", id, out, sum)
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().StringVarP(&out, "out", "o", "public.key", "file for the public key")
	cmd.Flags().StringVar(&digest, "sha256", "", "SHA-256 that it must have")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func keyRotateCommand(u *ui) *cobra.Command {
	var from, to, out, fromPass, toPass string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate --from SECRETKEY --to SECRETKEY",
		Short: "Make the migration key from an old key to a new one",
		Long: `Makes, from two secret keys, the migration key with which a server turns ciphertexts
of the old key into ciphertexts of the new one. The two may have different parameters
as long as their messages are encoded alike.

Whoever has the new secret key can then read what the old one could: a rotation is for
a key of the same holder. If the old secret key is known to others, ciphertexts that
they have seen stay readable to them.

JSON: file, size, sha256, from_key_id, to_key_id, from_parameters, to_parameters,
log2_failure_probability (for each block).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			old, err := u.openSecretKey(from, fromPass)
			if err != nil {
				return err
			}
			fresh, err := u.openSecretKey(to, toPass)
			if err != nil {
				return err
			}
			key, err := fhe.NewMigrationKey(old, fresh)
			if err != nil {
				return err
			}
			data, err := key.MarshalBinary()
			if err != nil {
				return err
			}
			if err := keyfile.WritePublic(out, data); err != nil {
				return err
			}
			sum := sha256.Sum256(data)
			failure := key.FailureProbability(key.FromParameters().BootstrapVariance())
			if asJSON {
				return u.printJSON(struct {
					File           string  `json:"file"`
					Size           int     `json:"size"`
					SHA256         string  `json:"sha256"`
					From           string  `json:"from_key_id"`
					To             string  `json:"to_key_id"`
					FromParameters string  `json:"from_parameters"`
					ToParameters   string  `json:"to_parameters"`
					Log2Failure    float64 `json:"log2_failure_probability"`
				}{out, len(data), hex.EncodeToString(sum[:]), key.From().String(), key.To().String(), key.FromParameters().Name(), key.ToParameters().Name(), failure})
			}
			u.table(func(row func(...any)) {
				row("from", key.From(), key.FromParameters().Name())
				row("to", key.To(), key.ToParameters().Name())
				row("file", out, size(int64(len(data))))
				row("wrong with probability", power(failure)+" for each block")
			})
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "old secret key")
	flags.StringVar(&to, "to", "", "new secret key")
	flags.StringVarP(&out, "out", "o", "migration.key", "file for the migration key")
	flags.StringVar(&fromPass, "from-passphrase-file", "", "file with the passphrase of the old secret key, instead of asking")
	flags.StringVar(&toPass, "to-passphrase-file", "", "file with the passphrase of the new secret key, instead of asking")
	jsonFlag(cmd, &asJSON)
	required(cmd, "from", "to")
	return cmd
}

// migrationView is how far a migration is.
type migrationView struct {
	From     string          `json:"from_key_id"`
	To       string          `json:"to_key_id"`
	State    string          `json:"state"`
	Moved    uint64          `json:"moved"`
	Waiting  uint64          `json:"waiting"`
	Failed   uint64          `json:"failed"`
	Failures []moveErrorView `json:"failures,omitempty"`
	Created  *time.Time      `json:"created,omitempty"`
	Ended    *time.Time      `json:"ended,omitempty"`
}

type moveErrorView struct {
	Handle  string `json:"handle"`
	Message string `json:"message"`
}

const migrationFields = "from_key_id, to_key_id, state (running, done or confirmed), moved, waiting, failed,\nfailures [handle, message], created, ended"

func newMigrationView(m *tacitv1.Migration) migrationView {
	v := migrationView{
		From: hex.EncodeToString(m.FromKeyId), To: hex.EncodeToString(m.ToKeyId),
		State: strings.ToLower(strings.TrimPrefix(m.State.String(), "MIGRATION_STATE_")),
		Moved: m.Moved, Waiting: m.Waiting, Failed: m.Failed, Created: timeOf(m.CreateTime), Ended: timeOf(m.EndTime),
	}
	for _, f := range m.Failures {
		v.Failures = append(v.Failures, moveErrorView{hex.EncodeToString(f.Handle), f.Message})
	}
	return v
}

func (u *ui) showMigration(m *tacitv1.Migration, asJSON bool) error {
	v := newMigrationView(m)
	if asJSON {
		return u.printJSON(v)
	}
	u.printf("%s: %d moved, %d waiting, %d failed\n", v.State, v.Moved, v.Waiting, v.Failed)
	u.table(func(row func(...any)) {
		row("  from", v.From)
		row("  to", v.To)
		for _, f := range v.Failures {
			row("  "+f.Handle, f.Message)
		}
	})
	return nil
}

func keyMigrateCommand(u *ui) *cobra.Command {
	var conn connection
	var detach, asJSON bool
	cmd := &cobra.Command{
		Use:   "migrate MIGRATIONKEY",
		Short: "Move the ciphertexts of an old key to a new one",
		Long: `Gives a migration key to the server, which retires the old key and moves its
ciphertexts in the background, behind jobs, and waits for the end; with --detach it
does not. The same migration key again goes on watching. Jobs of the old key that are
queued are computed first.

JSON: ` + migrationFields + ".",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := readFile(args[0])
			if err != nil {
				return err
			}
			key, err := fhe.UnmarshalMigrationKey(data)
			if err != nil {
				return inFile(args[0], err)
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := c.StartMigration(cmd.Context(), data)
			if err != nil {
				return err
			}
			if !detach {
				if m, err = u.followMigration(cmd.Context(), c, key.From(), m); err != nil {
					return err
				}
			}
			if err := u.showMigration(m, asJSON); err != nil {
				return err
			}
			if m.Failed > 0 && m.State != tacitv1.MigrationState_MIGRATION_STATE_RUNNING {
				return fmt.Errorf("%d ciphertexts could not be moved", m.Failed)
			}
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// migrationStep is the pause between two questions about a migration.
const migrationStep = 500 * time.Millisecond

// followMigration waits for the end of a migration and shows its progress.
func (u *ui) followMigration(ctx context.Context, c *client.Client, from fhe.KeyID, m *tacitv1.Migration) (*tacitv1.Migration, error) {
	bar := u.progress("moving ciphertexts")
	defer bar.end()
	for m.State == tacitv1.MigrationState_MIGRATION_STATE_RUNNING {
		bar.share(int64(m.Moved), int64(max(m.Moved+m.Waiting, 1)))
		select {
		case <-time.After(migrationStep):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if m, err = c.Migration(ctx, from); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func keyMigrationCommand(u *ui) *cobra.Command {
	return aboutMigration(u, "migration", "Show how far the migration from a key is", "", (*client.Client).Migration)
}

func keyConfirmCommand(u *ui) *cobra.Command {
	return aboutMigration(u, "confirm", "Drop the old versions of what a migration has moved", `
Until then, 'tacit verify' can compute jobs of the old key again, which read the old
versions.
`, (*client.Client).ConfirmMigration)
}

// aboutMigration is a command about the migration from a key.
func aboutMigration(u *ui, name, short, more string, call func(*client.Client, context.Context, fhe.KeyID) (*tacitv1.Migration, error)) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name + " OLDKEYID",
		Short: short,
		Long:  short + ".\n" + more + "\nJSON: " + migrationFields + ".",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseKeyID(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := call(c, cmd.Context(), id)
			if err != nil {
				return err
			}
			return u.showMigration(m, asJSON)
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// serviceKeyView is a key that a server signs or has signed receipts with.
type serviceKeyView struct {
	PublicKey string     `json:"public_key"`
	Retired   *time.Time `json:"retired,omitempty"`
}

func keyServiceCommand(u *ui) *cobra.Command {
	var conn connection
	var rotate, asJSON bool
	cmd := &cobra.Command{
		Use:   "service",
		Short: "List or replace the key that a server signs receipts with",
		Long: `Lists the public keys that a server signs or has signed receipts with, the present
one first. With --rotate it makes a new one first, which takes an administrator, in the
file of the server that is called (--service-key of 'tacit serve'): servers that read the
same file take it up too, and those that have a file of their own when it is replaced.
Receipts of before stay as they are: keep the old
public keys, or ask for the list, to verify them.

JSON: a list of public_key, retired.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			var keys []*tacitv1.ServiceKey
			if rotate {
				keys, err = c.RotateServiceKey(cmd.Context())
			} else {
				var info *tacitv1.GetInfoResponse
				info, err = c.Info(cmd.Context())
				keys = info.GetServiceKeys()
			}
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return errors.New("the server has no key to sign receipts with")
			}
			views := []serviceKeyView{}
			for _, k := range keys {
				views = append(views, serviceKeyView{hex.EncodeToString(k.PublicKey), timeOf(k.RetireTime)})
			}
			if asJSON {
				return u.printJSON(views)
			}
			u.table(func(row func(...any)) {
				for _, v := range views {
					state := "signs"
					if v.Retired != nil {
						state = "until " + v.Retired.Format(time.RFC3339)
					}
					row(v.PublicKey, state)
				}
			})
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make a new key")
	jsonFlag(cmd, &asJSON)
	return cmd
}
