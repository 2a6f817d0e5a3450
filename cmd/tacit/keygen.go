package main

import (
	"context"
	"encoding"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// The names of key files.
const (
	secretKeyFile     = "secret.key"
	publicKeyFile     = "public.key"
	evaluationKeyFile = "evaluation.key"
)

// keyView is what keygen prints.
type keyView struct {
	KeyID      string     `json:"key_id"`
	Parameters string     `json:"parameters"`
	Protected  bool       `json:"protected"`
	Files      []fileView `json:"files"`
}

type fileView struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

func keygenCommand(u *ui) *cobra.Command {
	var params, scheme, out, passphraseFile string
	var ask, asJSON bool
	var spec vectorKeys
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a secret, a public and an evaluation key",
		Long: `Makes three keys that belong together and writes them to files:

  secret.key      decrypts; keep it, and keep it to yourself
  public.key      encrypts; give it to whoever sends you values
  evaluation.key  computes; upload it to the server

--scheme chooses what they compute on: tfhe, integers of any operation; bgv and
bfv, vectors of integers modulo t; ckks, vectors of real numbers. The set then
has to be one of that scheme, or is chosen for you.

Files that exist are never overwritten.

JSON: key_id, parameters, protected, files [name, size].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			generate, err := u.keyMaker(cmd, scheme, params, spec)
			if err != nil {
				return err
			}
			paths := make(map[string]string)
			for _, name := range []string{secretKeyFile, publicKeyFile, evaluationKeyFile} {
				paths[name] = filepath.Join(out, name)
				if _, err := os.Lstat(paths[name]); err == nil {
					return &keyfile.ExistsError{Path: paths[name]}
				}
			}
			var passphrase []byte
			switch {
			case ask:
				passphrase, err = u.newPassphrase()
			case passphraseFile != "":
				passphrase, err = readPassphrase(passphraseFile)
			}
			if err != nil {
				return err
			}
			bar := u.progress("making keys")
			keys, err := generate(cmd.Context(), func(done, total int) { bar.share(int64(done), int64(total)) })
			bar.end()
			if err == nil {
				err = cmd.Context().Err()
			}
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o700); err != nil {
				return err
			}
			if err := writeKeys(keys, paths, passphrase); err != nil {
				return err
			}
			view := keyView{KeyID: keys.id.String(), Parameters: keys.parameters, Protected: passphrase != nil}
			for _, name := range []string{secretKeyFile, publicKeyFile, evaluationKeyFile} {
				st, err := os.Stat(paths[name])
				if err != nil {
					return err
				}
				view.Files = append(view.Files, fileView{paths[name], st.Size()})
			}
			if asJSON {
				return u.printJSON(view)
			}
			u.printf("key id      %s\nparameters  %s\n", view.KeyID, view.Parameters)
			u.table(func(row func(...any)) {
				for i, what := range []string{"keep it secret", "encrypts", "computes"} {
					row(view.Files[i].Name, size(view.Files[i].Size), what)
				}
			})
			if passphrase == nil {
				u.note("%s is not protected by a passphrase", paths[secretKeyFile])
			}
			return nil
		},
	}
	flags := cmd.Flags()
	paramsFlag(cmd, &params, leveled.Names()...)
	spec.flags(cmd, &scheme)
	flags.StringVarP(&out, "out", "o", ".", "folder for the files; made if it is absent")
	flags.BoolVar(&ask, "passphrase", false, "ask for a passphrase that protects the secret key")
	passphraseFlag(cmd, &passphraseFile)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// newKeys are keys that were made and are to be written, as containers.
type newKeys struct {
	parameters string
	id         fhe.KeyID
	secret     encoding.BinaryMarshaler
	public     encoding.BinaryMarshaler
	evaluation io.WriterTo
}

// makeKeys makes keys for one parameter set.
type makeKeys func(ctx context.Context, progress func(done, total int)) (*newKeys, error)

// keyMaker makes keys of a scheme. A parameter set that was not asked for on the command line is that of
// the scheme.
func (u *ui) keyMaker(cmd *cobra.Command, scheme, params string, spec vectorKeys) (makeKeys, error) {
	set, err := vectorSet(cmd, scheme, params)
	if err != nil {
		return nil, err
	}
	if set != nil {
		return func(_ context.Context, progress func(done, total int)) (*newKeys, error) {
			keys, err := leveled.GenerateKeys(set, spec.spec(set), progress)
			if err != nil {
				return nil, err
			}
			return &newKeys{set.Name(), keys.Secret.ID(), keys.Secret, keys.Public, keys.Evaluation}, nil
		}, nil
	}
	p, err := u.preset(params)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, progress func(done, total int)) (*newKeys, error) {
		backend, err := cpu.New()
		if err != nil {
			return nil, err
		}
		defer backend.Close()
		keys, err := fhe.GenerateKeys(ctx, p, fhe.NewSeed(), backend, progress)
		if err != nil {
			return nil, err
		}
		return &newKeys{p.Name(), keys.Secret.ID(), keys.Secret, keys.Public, keys.Evaluation}, nil
	}, nil
}

// writeKeys writes all keys or none: the secret key comes last, so that there is
// never a secret key without the others.
func writeKeys(keys *newKeys, paths map[string]string, passphrase []byte) (err error) {
	secret, err := keys.secret.MarshalBinary()
	if err != nil {
		return err
	}
	public, err := keys.public.MarshalBinary()
	if err != nil {
		return err
	}
	var written []string
	defer func() {
		if err != nil {
			for _, path := range written {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}()
	if err := keyfile.WritePublicFrom(paths[evaluationKeyFile], func(w io.Writer) error {
		_, err := keys.evaluation.WriteTo(w)
		return err
	}); err != nil {
		return err
	}
	written = append(written, paths[evaluationKeyFile])
	if err := keyfile.WritePublic(paths[publicKeyFile], public); err != nil {
		return err
	}
	written = append(written, paths[publicKeyFile])
	return keyfile.Write(paths[secretKeyFile], secret, keyfile.Meta{
		Created: time.Now(), Parameters: keys.parameters, KeyID: keys.id,
	}, passphrase)
}
