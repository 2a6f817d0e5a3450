package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

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

func (u *ui) printMigration(v migrationView) {
	u.printf("%s: %d moved, %d waiting, %d failed\n", v.State, v.Moved, v.Waiting, v.Failed)
	u.table(func(row func(...any)) {
		row("  from", v.From)
		row("  to", v.To)
		for _, f := range v.Failures {
			row("  "+f.Handle, f.Message)
		}
	})
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
			if v := newMigrationView(m); !asJSON {
				u.printMigration(v)
			} else if err := u.printJSON(v); err != nil {
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
	var id fhe.KeyID
	return request(u, keyArgument(&cobra.Command{
		Use:   name + " OLDKEYID",
		Short: short,
		Long:  short + ".\n" + more + "\nJSON: " + migrationFields + ".",
	}, &id), func(ctx context.Context, c *client.Client, _ []string) (v migrationView, err error) {
		m, err := call(c, ctx, id)
		if err == nil {
			v = newMigrationView(m)
		}
		return v, err
	}, u.printMigration)
}
