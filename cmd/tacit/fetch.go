package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

// ciphertextExt ends the name of a file of ciphertexts.
const ciphertextExt = ".ct"

// outHelp explains --out of the commands that fetch.
const outHelp = "folder for one file per ciphertext, or a file ending in .ct for all"

func fetchCommand(u *ui) *cobra.Command {
	var out string
	var d *destination
	cmd := request(u, &cobra.Command{
		Use:   "fetch HANDLE... [--out DIR|FILE.ct]",
		Short: "Get ciphertexts from a server",
		Long: `Gets ciphertexts by their handles, checks each against its digest, and writes
each to a file named by its handle in the folder --out, or all, in the order
asked, to the one file --out when its name ends in .ct.

JSON: a list of handle, type, key_id, sha256, size, file.`,
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			var wanted []result
			for _, arg := range args {
				h, err := graph.ParseHandle(arg)
				if err != nil {
					return wrongUsage(cmd, "%q is not a handle: 64 hexadecimal digits, with or without 0x", arg)
				}
				wanted = append(wanted, result{name: h.String(), handle: h})
			}
			d, err = newDestination(out, wanted)
			return err
		},
	}, func(ctx context.Context, c *client.Client, _ []string) ([]ciphertextView, error) {
		return d.fetch(ctx, c)
	}, u.printCiphertexts)
	cmd.Flags().StringVarP(&out, "out", "o", ".", outHelp)
	return cmd
}

// result is a ciphertext to be fetched: where to, and what is known of it.
type result struct {
	name   string
	handle graph.Handle
	digest []byte // nil when it is not known beforehand
}

// destination is where fetched ciphertexts go: a file for each, or one for all.
type destination struct {
	results []result
	paths   []string // one for each result, or one
}

// newDestination plans the files, and refuses those that exist.
func newDestination(out string, results []result) (*destination, error) {
	d := &destination{results: results}
	if strings.HasSuffix(out, ciphertextExt) {
		d.paths = []string{out}
	} else {
		for _, r := range results {
			d.paths = append(d.paths, filepath.Join(out, r.name+ciphertextExt))
		}
	}
	for _, path := range d.paths {
		if _, err := os.Lstat(path); err == nil {
			return nil, &keyfile.ExistsError{Path: path}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return d, nil
}

// fetch gets the ciphertexts and writes them.
func (d *destination) fetch(ctx context.Context, c *client.Client) ([]ciphertextView, error) {
	views := []ciphertextView{}
	var together [][]byte
	for i, r := range d.results {
		cts, err := c.Fetch(ctx, r.handle)
		if err != nil {
			return nil, err
		}
		ct := cts[0]
		if r.digest != nil && !bytes.Equal(ct.Info.Digest, r.digest) {
			return nil, &client.MismatchError{What: "ciphertext " + r.handle.String(), Reason: fmt.Sprintf("the server sent digest %x, the job reported %x", ct.Info.Digest, r.digest)}
		}
		if _, err := joinLists([][]byte{ct.Record}); err != nil {
			return nil, &client.MismatchError{What: "ciphertext " + hex.EncodeToString(ct.Info.Handle), Reason: err.Error()}
		}
		view := newCiphertextView(ct.Info)
		view.File = d.paths[min(i, len(d.paths)-1)]
		if r.name != view.Handle {
			view.Name = r.name
		}
		views = append(views, view)
		if len(d.paths) < len(d.results) {
			together = append(together, ct.Record)
			continue
		}
		if err := write(view.File, ct.Record); err != nil {
			return nil, err
		}
	}
	if together == nil {
		return views, nil
	}
	data, err := joinLists(together)
	if err != nil {
		return nil, err
	}
	return views, write(d.paths[0], data)
}

// write writes a file, and its folder if that is absent.
func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return keyfile.WritePublic(path, data)
}
