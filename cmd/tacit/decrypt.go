package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// valueView is one decrypted value.
type valueView struct {
	File  string `json:"file"`
	Index int    `json:"index"`
	Type  string `json:"type"`
	Value string `json:"value"`
}

func decryptCommand(u *ui) *cobra.Command {
	var key, passphraseFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "decrypt --key SECRET-KEY FILE...",
		Short: "Decrypt files of ciphertexts",
		Long: `Decrypts files of ciphertexts and prints one value a line, as encrypt takes it,
in the order of the files; of several files, each line begins with the name of the
file. Vectors of ckks are printed to as many digits as the
tracked error leaves; who may choose ciphertexts must not see more of them.

JSON: a list of file, index, type, value (a decimal number, or true and false, or
the numbers of a vector).`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := u.readSecretKey(key, passphraseFile)
			if err != nil {
				return err
			}
			if isVectorKey(data) {
				views, err := decryptVectors(key, data, args)
				if err != nil {
					return err
				}
				return u.printValues(views, asJSON)
			}
			sk, err := fhe.UnmarshalSecretKey(data)
			if err != nil {
				return inFile(key, err)
			}
			views := []valueView{}
			for _, path := range args {
				list, err := readList(path, sk.Parameters())
				if err == nil {
					err = inspect.CheckKey(list, sk)
				}
				if err != nil {
					return inFile(path, err)
				}
				for i := range list.Len() {
					s := integer.Decrypt(sk, list.Value(i))
					views = append(views, valueView{path, i, s.Type().String(), s.String()[len(s.Type().String())+1:]})
				}
			}
			return u.printValues(views, asJSON)
		},
	}
	cmd.Flags().StringVarP(&key, "key", "k", "", "secret key")
	env(cmd, "key")
	passphraseFlag(cmd, &passphraseFile)
	jsonFlag(cmd, &asJSON)
	required(cmd, "key")
	return cmd
}

func (u *ui) printValues(views []valueView, asJSON bool) error {
	if asJSON {
		return u.printJSON(views)
	}
	one := !slices.ContainsFunc(views, func(v valueView) bool { return v.File != views[0].File })
	u.table(func(row func(...any)) {
		for _, v := range views {
			value := v.Type + ":" + v.Value
			if one {
				row(value)
			} else {
				row(v.File, value)
			}
		}
	})
	return nil
}
