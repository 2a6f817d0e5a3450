package main

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func accessCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "access",
		Short: "Say who may read and compute on ciphertexts and keys",
		Long: `Whoever uploads a ciphertext or an evaluation key, or has a job that computes a
ciphertext, owns it. Others may do nothing with it until an owner grants them
rights: read to fetch it, compute to use it in jobs (a key: to upload ciphertexts
under it and to compute with it), grant to give rights on. The principal "everyone"
stands for all.`,
	}
	cmd.AddCommand(
		accessChangeCommand(u, "grant", "to", "Give a principal rights", (*client.Client).Grant),
		accessChangeCommand(u, "revoke", "from", "Take rights back from a principal", (*client.Client).Revoke),
		accessShowCommand(u),
	)
	return cmd
}

// accessView is who has rights on one ciphertext or key.
type accessView struct {
	Handle  string      `json:"handle,omitempty"`
	KeyID   string      `json:"key_id,omitempty"`
	Program string      `json:"program,omitempty"`
	Owners  []string    `json:"owners"`
	Grants  []grantView `json:"grants"`
}

type grantView struct {
	Principal string   `json:"principal"`
	Rights    []string `json:"rights"`
}

func newAccessView(a *tacitv1.Access) accessView {
	v := accessView{
		Handle: hex.EncodeToString(a.GetResource().GetHandle()), KeyID: hex.EncodeToString(a.GetResource().GetKeyId()),
		Program: hex.EncodeToString(a.GetResource().GetProgram()),
		Owners:  append([]string{}, a.GetOwners()...), Grants: []grantView{},
	}
	for _, g := range a.GetGrants() {
		rights := []string{}
		for _, r := range g.GetRights() {
			rights = append(rights, strings.ToLower(strings.TrimPrefix(r.String(), "RIGHT_")))
		}
		v.Grants = append(v.Grants, grantView{g.GetPrincipal(), rights})
	}
	return v
}

func (u *ui) showAccess(views []accessView, asJSON bool) error {
	if asJSON {
		return u.printJSON(views)
	}
	for _, v := range views {
		u.printf("%s\n", v.Handle+v.KeyID+v.Program)
		u.table(func(row func(...any)) {
			for _, name := range v.Owners {
				row("  "+name, "owner")
			}
			for _, g := range v.Grants {
				row("  "+g.Principal, strings.Join(g.Rights, ","))
			}
		})
	}
	return nil
}

// accessFields are the fields of an accessView.
const accessFields = "a list of handle, key_id or program, owners, grants [principal, rights]"

// resourceKind says what the arguments of a command are, if not handles.
type resourceKind struct{ keys, programs bool }

// resourceFlag adds --key and --program to a command whose arguments are handles.
func resourceFlag(cmd *cobra.Command, kind *resourceKind) {
	cmd.Flags().BoolVar(&kind.keys, "key", false, "the arguments are the ids of evaluation keys")
	cmd.Flags().BoolVar(&kind.programs, "program", false, "the arguments are the digests of programs")
	cmd.MarkFlagsMutuallyExclusive("key", "program")
}

// eachResource calls a server about each of the arguments of a command.
func (u *ui) eachResource(cmd *cobra.Command, conn *connection, args []string, kind resourceKind, asJSON bool,
	call func(context.Context, *client.Client, *tacitv1.Resource) (*tacitv1.Access, error)) error {
	var resources []*tacitv1.Resource
	for _, arg := range args {
		h, err := graph.ParseHandle(arg)
		if err != nil {
			return wrongUsage(cmd, "%q is neither a handle nor a key id: 64 hexadecimal digits, with or without 0x", arg)
		}
		switch {
		case kind.keys:
			resources = append(resources, client.Key(h))
		case kind.programs:
			resources = append(resources, client.ProgramResource(h))
		default:
			resources = append(resources, client.Handle(h))
		}
	}
	c, err := conn.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	views := []accessView{}
	for _, r := range resources {
		a, err := call(cmd.Context(), c, r)
		if err != nil {
			return err
		}
		views = append(views, newAccessView(a))
	}
	return u.showAccess(views, asJSON)
}

// accessChangeCommand is a command that changes rights, with the principal in a
// flag named by a preposition.
func accessChangeCommand(u *ui, name, preposition, short string,
	change func(*client.Client, context.Context, *tacitv1.Resource, string, ...tacitv1.Right) (*tacitv1.Access, error)) *cobra.Command {
	var conn connection
	var principal string
	var names []string
	var kind resourceKind
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name + " HANDLE... --" + preposition + " NAME",
		Short: short,
		Long: short + `, and prints who then has which.

JSON: ` + accessFields + `.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var rights []tacitv1.Right
			for _, name := range names {
				r, ok := tacitv1.Right_value["RIGHT_"+strings.ToUpper(name)]
				if !ok || r == 0 {
					return wrongUsage(cmd, "no right is named %q: there are read, compute and grant", name)
				}
				rights = append(rights, tacitv1.Right(r))
			}
			return u.eachResource(cmd, &conn, args, kind, asJSON, func(ctx context.Context, c *client.Client, r *tacitv1.Resource) (*tacitv1.Access, error) {
				return change(c, ctx, r, principal, rights...)
			})
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().StringVar(&principal, preposition, "", "name of a principal, or everyone")
	cmd.Flags().StringSliceVar(&names, "right", nil, "rights: read, compute, grant")
	required(cmd, preposition, "right")
	complete(cmd, "right", "read", "compute", "grant")
	resourceFlag(cmd, &kind)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func accessShowCommand(u *ui) *cobra.Command {
	var conn connection
	var kind resourceKind
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show HANDLE...",
		Short: "Print who has rights",
		Long: `Prints who owns ciphertexts or keys and who else has which rights. It takes the right
grant.

JSON: ` + accessFields + `.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return u.eachResource(cmd, &conn, args, kind, asJSON, func(ctx context.Context, c *client.Client, r *tacitv1.Resource) (*tacitv1.Access, error) {
				return c.Access(ctx, r)
			})
		},
	}
	connectionFlags(cmd, &conn)
	resourceFlag(cmd, &kind)
	jsonFlag(cmd, &asJSON)
	return cmd
}
