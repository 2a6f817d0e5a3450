package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

// encryptView is what encrypt prints.
type encryptView struct {
	File  string   `json:"file"`
	Size  int      `json:"size"`
	KeyID string   `json:"key_id"`
	Form  string   `json:"form"`
	Types []string `json:"types"`
}

func encryptCommand(u *ui) *cobra.Command {
	var key, out, passphraseFile string
	var asJSON bool
	var bound int
	cmd := &cobra.Command{
		Use:   "encrypt --key KEY --out FILE TYPE:VALUE...",
		Short: "Encrypt values into a file",
		Long: `Encrypts values under a public or a secret key, whichever the file holds, into
one file. A value is a type, a colon and a number, decimal or after 0x
hexadecimal: ebool:true, euint8:7, euint16:0x1f, euint32:5, euint64:100.

With keys of the schemes bgv, bfv and ckks a value is a vector: bgv:1,-2,3,
bfv:7, ckks:0.5,-0.25, or ckks:@FILE for numbers in a file, with commas or white
space between them. Numbers of ckks are at most 1 in absolute value, or at most
2^--bound, which everybody sees: choose it by what the numbers may be, not by
what they are.

Values given as arguments can be seen by other users of the machine while the
command runs, and stay in the history of the shell.

JSON: file, size, key_id, form (public-key or secret-key), types.`,
		Example: "  tacit encrypt --key public.key --out inputs.ct euint64:1000 euint64:250 euint64:300",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if isVector(args[0]) {
				view, err := u.encryptVectors(cmd, key, passphraseFile, out, args, bound)
				if err != nil {
					return err
				}
				if asJSON {
					return u.printJSON(view)
				}
				u.printf("%s: %s, %s, made with the %s\n", out, count(len(view.Types), "vector"), size(view.Size), keyOfForm[view.Form])
				return nil
			}
			var values []integer.Scalar
			for _, arg := range args {
				v, err := integer.ParseScalar(arg)
				var tooLarge *integer.RangeError
				if errors.As(err, &tooLarge) {
					err = fmt.Errorf("%s: %s", arg, rangeOf(tooLarge.Type))
				}
				if err != nil {
					return wrongUsage(cmd, "%v", err)
				}
				values = append(values, v)
			}
			p, id, enc, err := u.openEncrypter(key, passphraseFile)
			if err != nil {
				return err
			}
			if _, err := integer.New(p, nil); err != nil {
				return inFile(key, err)
			}
			list, err := integer.Encrypt(p, id, enc, fhe.NewSeed(), values...)
			if err != nil {
				return err
			}
			data, err := list.MarshalBinary()
			if err != nil {
				return err
			}
			if err := keyfile.WritePublic(out, data); err != nil {
				return err
			}
			view := encryptView{File: out, Size: len(data), KeyID: id.String(), Form: list.Form()}
			for i := range list.Len() {
				view.Types = append(view.Types, list.Type(i).String())
			}
			if asJSON {
				return u.printJSON(view)
			}
			u.printf("%s: %s, %s, made with the %s\n", out, count(list.Len(), "value"), size(len(data)), keyOfForm[list.Form()])
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&key, "key", "k", "", "public or secret key")
	flags.StringVarP(&out, "out", "o", "", "file to write")
	flags.IntVar(&bound, "bound", 0, "log2 of the bound on the numbers of ckks vectors")
	env(cmd, "key")
	passphraseFlag(cmd, &passphraseFile)
	jsonFlag(cmd, &asJSON)
	required(cmd, "key", "out")
	return cmd
}

// rangeOf says which values a type has.
func rangeOf(t integer.Type) string {
	switch {
	case t == integer.Bool:
		return "an ebool is true or false"
	case t.Bits() <= 32:
		return fmt.Sprintf("a %v is 0 to %d", t, uint64(1)<<t.Bits()-1)
	}
	return fmt.Sprintf("a %v is 0 to 2^%d-1", t, t.Bits())
}

// keyOfForm is the key that makes a form of encryption.
var keyOfForm = map[string]string{fhe.PublicForm.String(): "public key", fhe.SecretForm.String(): "secret key"}

// openEncrypter reads a public or a secret key.
func (u *ui) openEncrypter(path, passphraseFile string) (*fhe.Parameters, fhe.KeyID, integer.Encrypter, error) {
	fail := func(err error) (*fhe.Parameters, fhe.KeyID, integer.Encrypter, error) {
		return nil, fhe.KeyID{}, nil, inFile(path, err)
	}
	kind, err := inspect.DetectFile(path)
	if err != nil {
		return fail(err)
	}
	switch kind {
	case inspect.SecretKey:
		sk, err := u.openSecretKey(path, passphraseFile)
		if err != nil {
			return nil, fhe.KeyID{}, nil, err
		}
		return sk.Parameters(), sk.ID(), sk, nil
	case inspect.PublicKey:
		data, err := readFile(path)
		if err != nil {
			return fail(err)
		}
		pk, err := fhe.UnmarshalPublicKey(data)
		if err != nil {
			return fail(err)
		}
		backend, err := cpu.New()
		if err != nil {
			return nil, fhe.KeyID{}, nil, err
		}
		enc, err := pk.Encrypter(backend)
		return pk.Parameters(), pk.ID(), enc, err
	}
	if kind == inspect.LeveledPublicKey {
		return fail(errors.New("a key of vectors encrypts vectors, such as ckks:0.5,-0.25"))
	}
	return fail(&kindError{kind, "public key or secret key"})
}
