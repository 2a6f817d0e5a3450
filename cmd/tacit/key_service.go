package main

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// serviceKeyView is a key that a server signs or has signed receipts with.
type serviceKeyView struct {
	PublicKey string     `json:"public_key"`
	Retired   *time.Time `json:"retired,omitempty"`
}

func keyServiceCommand(u *ui) *cobra.Command {
	var rotate bool
	cmd := request(u, &cobra.Command{
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
	}, func(ctx context.Context, c *client.Client, _ []string) ([]serviceKeyView, error) {
		var keys []*tacitv1.ServiceKey
		var err error
		if rotate {
			keys, err = c.RotateServiceKey(ctx)
		} else {
			var info *tacitv1.GetInfoResponse
			info, err = c.Info(ctx)
			keys = info.GetServiceKeys()
		}
		if err == nil && len(keys) == 0 {
			err = errors.New("the server has no key to sign receipts with")
		}
		views := []serviceKeyView{}
		for _, k := range keys {
			views = append(views, serviceKeyView{hex.EncodeToString(k.PublicKey), timeOf(k.RetireTime)})
		}
		return views, err
	}, func(views []serviceKeyView) {
		u.table(func(row func(...any)) {
			for _, v := range views {
				state := "signs"
				if v.Retired != nil {
					state = "until " + v.Retired.Format(time.RFC3339)
				}
				row(v.PublicKey, state)
			}
		})
	})
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make a new key")
	return cmd
}
