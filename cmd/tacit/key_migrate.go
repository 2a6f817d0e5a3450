package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func keyRotateCommand(u *ui) *cobra.Command {
	var from, to, out, fromPass, toPass string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rotate --from SECRETKEY --to SECRETKEY",
		Short: "Make the migration key from an old key to a new one",
		Long: `Makes, from two secret keys, the migration key with which a server turns ciphertexts
of the old key into ciphertexts of the new one. Two keys for integers may have different
parameters as long as their messages are encoded alike; two keys for vectors have to have
the same. Each vector becomes noisier by one key switch, whose error is told.

A migration key for vectors is another one each time: give the same file to all servers
that are to agree.

Whoever has the new secret key can then read what the old one could: a rotation is for
a key of the same holder. If the old secret key is known to others, ciphertexts that
they have seen stay readable to them.

JSON: file, size, sha256, from_key_id, to_key_id, from_parameters, to_parameters,
and log2_failure_probability (for each block of an integer) or log2_sigma (of the error
that is added to a vector, at most).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			old, err := u.readSecretKey(from, fromPass)
			if err != nil {
				return err
			}
			fresh, err := u.readSecretKey(to, toPass)
			if err != nil {
				return err
			}
			rotate := rotateIntegers
			switch vectors := isVectorKey(old); {
			case vectors != isVectorKey(fresh):
				return &hinted{errors.New("one of the two keys is for integers, the other for vectors"), "'tacit inspect' tells what a key is for"}
			case vectors:
				rotate = rotateVectors
			}
			data, err := rotate(from, to, old, fresh)
			if err != nil {
				return err
			}
			if err := keyfile.WritePublic(out, data); err != nil {
				return err
			}
			r, err := inspect.File(out, inspect.Options{})
			if err != nil {
				return inFile(out, err)
			}
			m := r.Migration
			if asJSON {
				return u.printJSON(struct {
					File           string   `json:"file"`
					Size           int      `json:"size"`
					SHA256         string   `json:"sha256"`
					From           string   `json:"from_key_id"`
					To             string   `json:"to_key_id"`
					FromParameters string   `json:"from_parameters"`
					ToParameters   string   `json:"to_parameters"`
					Log2Failure    *float64 `json:"log2_failure_probability,omitempty"`
					LogSigma       *float64 `json:"log2_sigma,omitempty"`
				}{out, len(data), r.Digest, m.FromKeyID, r.KeyID, m.FromParameters.Name, r.Parameters.Name, m.Log2Failure, m.LogSigma})
			}
			u.table(func(row func(...any)) {
				row("from", m.FromKeyID, m.FromParameters.Name)
				row("to", r.KeyID, r.Parameters.Name)
				row("file", out, size(int64(len(data))))
				row(noiseOf(m))
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

// rotateIntegers makes the container of the migration key between two secret keys in files.
func rotateIntegers(from, to string, old, fresh []byte) ([]byte, error) {
	a, err := fhe.UnmarshalSecretKey(old)
	if err != nil {
		return nil, inFile(from, err)
	}
	b, err := fhe.UnmarshalSecretKey(fresh)
	if err != nil {
		return nil, inFile(to, err)
	}
	key, err := fhe.NewMigrationKey(a, b)
	if err != nil {
		return nil, err
	}
	return key.MarshalBinary()
}

// rotateVectors does what rotateIntegers does for keys of a scheme of vectors.
func rotateVectors(from, to string, old, fresh []byte) ([]byte, error) {
	a, err := leveled.UnmarshalSecretKey(old, nil)
	if err != nil {
		return nil, inFile(from, err)
	}
	b, err := leveled.UnmarshalSecretKey(fresh, nil)
	if err != nil {
		return nil, inFile(to, err)
	}
	key, err := leveled.NewMigrationKey(a, b)
	if err != nil {
		return nil, err
	}
	var data bytes.Buffer
	_, err = key.WriteTo(&data)
	return data.Bytes(), err
}

// noiseOf says what a migration costs a ciphertext.
func noiseOf(m *inspect.MigrationReport) (what, much string) {
	if m.LogSigma != nil {
		return "adds an error of", power(*m.LogSigma) + " at most"
	}
	return "wrong with probability", power(*m.Log2Failure) + " for each block"
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

A large migration key is uploaded as an evaluation key is: what breaks off goes on where it
was.

JSON: ` + migrationFields + ".",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := inspect.File(args[0], inspect.Options{})
			if err == nil && r.Migration == nil {
				err = &kindError{r.Kind, "migration key"}
			}
			if err != nil {
				return inFile(args[0], err)
			}
			from, err := parseKeyID(cmd, r.Migration.FromKeyID)
			if err != nil {
				return err
			}
			data, err := readFile(args[0])
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := u.startMigration(cmd.Context(), c, args[0], data)
			if err == nil && !detach {
				m, err = u.followMigration(cmd.Context(), c, from, m)
			}
			if err != nil {
				return err
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

// startMigration gives the server a migration key.
func (u *ui) startMigration(ctx context.Context, c *client.Client, path string, data []byte) (*tacitv1.Migration, error) {
	bar := u.progress("uploading " + path)
	defer bar.end()
	return c.StartMigration(ctx, data, bar.share)
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
