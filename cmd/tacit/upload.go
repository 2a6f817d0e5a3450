package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// uploadView is one file that was uploaded.
type uploadView struct {
	File        string           `json:"file"`
	KeyID       string           `json:"key_id"`
	Kind        string           `json:"kind,omitempty"` // of a key
	Size        uint64           `json:"size,omitempty"` // of a key
	Ciphertexts []ciphertextView `json:"ciphertexts,omitempty"`
}

func uploadCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "upload FILE...",
		Short: "Send evaluation keys, public keys and ciphertexts to a server",
		Long: `Sends evaluation keys, the public keys that belong to them, and files of
ciphertexts, whichever a file holds, and prints the key id or the handle of each
ciphertext. What the server has already is not stored again, and keeps its handle.
The evaluation key comes before the others. An upload of one that breaks off goes on where
it was, by itself while it gets further, or when the command is run again within an hour.

JSON: a list of file, key_id, kind and size (of a key) and ciphertexts
[handle, type, key_id, sha256, size].`,
		Args: cobra.MinimumNArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) (views []uploadView, err error) {
		for _, path := range args {
			v, err := u.upload(ctx, c, path)
			if err != nil {
				return nil, inFile(path, err)
			}
			views = append(views, *v)
		}
		return views, nil
	}, func(views []uploadView) {
		for _, v := range views {
			if v.Ciphertexts == nil {
				u.printf("%s  %s  %s\n", v.KeyID, v.Kind, v.File)
			}
			u.printCiphertexts(v.Ciphertexts)
		}
	})
}

// upload sends a file of either kind.
func (u *ui) upload(ctx context.Context, c *client.Client, path string) (*uploadView, error) {
	kind, err := inspect.DetectFile(path)
	if err != nil {
		return nil, err
	}
	switch kind {
	case inspect.EvaluationKey, inspect.LeveledEvaluationKey:
		info, err := u.uploadKey(ctx, c, path)
		if err != nil {
			return nil, err
		}
		return &uploadView{File: path, KeyID: hex.EncodeToString(info.KeyId), Size: info.Size, Kind: string(kind)}, nil
	case inspect.PublicKey:
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		info, err := c.UploadPublicKey(ctx, data)
		if err != nil {
			return nil, err
		}
		return &uploadView{File: path, KeyID: hex.EncodeToString(info.KeyId), Size: info.Size, Kind: string(kind)}, nil
	case inspect.Ciphertexts, inspect.LeveledCiphertexts:
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		infos, err := c.UploadList(ctx, data)
		if err != nil {
			return nil, err
		}
		v := &uploadView{File: path, Ciphertexts: []ciphertextView{}}
		for i, info := range infos {
			ct := newCiphertextView(info)
			ct.File = fmt.Sprintf("%s#%d", path, i)
			v.KeyID = ct.KeyID
			v.Ciphertexts = append(v.Ciphertexts, ct)
		}
		return v, nil
	}
	return nil, notForServers(kind, "evaluation key, public key or ciphertexts")
}

// notForServers refuses to send a file of another kind than those that servers take.
func notForServers(got inspect.Kind, want string) error {
	err := &kindError{got, want}
	if got == inspect.SecretKey {
		return &hinted{err, "the secret key stays with you: a server needs the evaluation key, and those who encrypt for you the public key"}
	}
	return err
}

// uploadKey sends an evaluation key, and no other file: least of all a secret key.
func (u *ui) uploadKey(ctx context.Context, c *client.Client, path string) (*tacitv1.EvaluationKeyInfo, error) {
	kind, err := inspect.DetectFile(path)
	if err != nil {
		return nil, err
	}
	if kind != inspect.EvaluationKey && kind != inspect.LeveledEvaluationKey {
		return nil, notForServers(kind, "evaluation key")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bar := u.progress("uploading " + path)
	defer bar.end()
	return c.UploadEvaluationKey(ctx, f, bar.share)
}
