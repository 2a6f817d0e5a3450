package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/access"
)

func tokenCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Say who may call a server: make, list and revoke credentials",
		Long: `Manages the file of callers that 'tacit serve --callers' reads. A credential makes
whoever has it a principal with roles: a token, the key of signed calls, or a
client certificate. The file has no secrets: of a token only its SHA-256. A
running server sees a change within a second or so.`,
	}
	cmd.AddCommand(tokenCreateCommand(u), tokenListCommand(u), tokenRevokeCommand(u), tokenQuotaCommand(u))
	return cmd
}

// callersFlag adds --callers to a command.
func callersFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "callers", "", "file of callers")
	env(cmd, "callers")
	required(cmd, "callers")
}

// credentialView is a credential as it is printed.
type credentialView struct {
	ID        string     `json:"id"`
	Principal string     `json:"principal"`
	Kind      string     `json:"kind"`
	Roles     []string   `json:"roles"`
	Created   time.Time  `json:"created"`
	Expires   *time.Time `json:"expires,omitempty"`
	Key       string     `json:"key,omitempty"`
	Subject   string     `json:"subject,omitempty"`
	File      string     `json:"file,omitempty"`
}

func newCredentialView(c access.Credential) credentialView {
	v := credentialView{ID: c.ID, Principal: c.Principal, Kind: string(c.Kind), Roles: []string{}, Created: c.Created}
	for _, r := range c.Roles {
		v.Roles = append(v.Roles, string(r))
	}
	if !c.Expires.IsZero() {
		v.Expires = &c.Expires
	}
	switch c.Kind {
	case access.Key:
		v.Key = c.Value
	case access.Certificate:
		v.Subject = c.Value
	}
	return v
}

// printCredentials prints a line for each credential.
func (u *ui) printCredentials(views ...credentialView) {
	u.table(func(row func(...any)) {
		for _, v := range views {
			until := "for ever"
			if v.Expires != nil {
				until = "until " + v.Expires.UTC().Format(time.RFC3339)
			}
			row(v.ID, v.Principal, strings.Join(v.Roles, ","), v.Kind, until, v.Key+v.Subject+v.File)
		}
	})
}

func tokenCreateCommand(u *ui) *cobra.Command {
	var callers, out, publicKey, subject string
	var roles []string
	var expires time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME --callers FILE {--out FILE | --public-key FILE | --subject NAME}",
		Short: "Make a credential of a principal",
		Long: `Makes a credential of a principal and adds it to the file of callers, which is made
if it is absent: a random token, which is written to --out and nowhere else, or the
Ed25519 key that signs calls (--public-key, in PEM as openssl writes it), or the
subject of a client certificate (--subject, such as CN=alice,O=Example).

Roles: user has jobs and ciphertexts, keys uploads evaluation keys, admin may do
everything, to everything.

JSON: id, principal, kind, roles, created, expires, key or subject or file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := access.Credential{Principal: args[0]}
			if err := access.CheckName(c.Principal); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			for _, name := range roles {
				r, err := access.ParseRole(name)
				if err != nil {
					return wrongUsage(cmd, "%v", err)
				}
				c.Roles = append(c.Roles, r)
			}
			switch {
			case expires < 0:
				return wrongUsage(cmd, "--expires is not negative")
			case expires > 0:
				c.Expires = time.Now().UTC().Add(expires).Truncate(time.Second)
			}
			given := 0
			for _, value := range []string{out, publicKey, subject} {
				if value != "" {
					given++
				}
			}
			if given != 1 {
				return wrongUsage(cmd, "one of --out, --public-key and --subject is needed")
			}
			var err error
			switch {
			case publicKey != "":
				c.Kind = access.Key
				if c.Value, err = readAs(publicKey, parsePublicKey); err == nil {
					c, err = access.Register(callers, c)
				}
			case subject != "":
				c.Kind, c.Value = access.Certificate, subject
				c, err = access.Register(callers, c)
			default:
				c, err = issue(callers, out, c)
			}
			if err != nil {
				return err
			}
			v := newCredentialView(c)
			v.File = out
			if asJSON {
				return u.printJSON(v)
			}
			u.printCredentials(v)
			return nil
		},
	}
	flags := cmd.Flags()
	callersFlag(cmd, &callers)
	flags.StringVarP(&out, "out", "o", "", "file for the token, which must not exist")
	flags.StringVar(&publicKey, "public-key", "", "file with an Ed25519 public key in PEM")
	flags.StringVar(&subject, "subject", "", "subject of a client certificate (RFC 2253)")
	flags.StringSliceVar(&roles, "role", []string{string(access.User)}, "roles: user, keys, admin")
	flags.DurationVar(&expires, "expires", 90*24*time.Hour, "how long the credential is good for; 0 is for ever")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// issue makes a token. Its file is there before it is known to anyone.
func issue(callers, out string, c access.Credential) (_ access.Credential, err error) {
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return access.Credential{}, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(out)
		}
	}()
	token, c, err := access.Issue(callers, c)
	if err != nil {
		return access.Credential{}, err
	}
	_, err = fmt.Fprintln(f, token)
	return c, errors.Join(err, f.Sync(), f.Close())
}

func tokenListCommand(u *ui) *cobra.Command {
	var callers string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --callers FILE",
		Short: "List the credentials of a file of callers",
		Long: `Lists the credentials of a file of callers.

JSON: a list of id, principal, kind, roles, created, expires, key, subject.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := access.ReadCallers(callers)
			if err != nil {
				return err
			}
			views := []credentialView{}
			for _, c := range list {
				views = append(views, newCredentialView(c))
			}
			if asJSON {
				return u.printJSON(views)
			}
			u.printCredentials(views...)
			return nil
		},
	}
	callersFlag(cmd, &callers)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func tokenRevokeCommand(u *ui) *cobra.Command {
	var callers string
	cmd := &cobra.Command{
		Use:   "revoke ID --callers FILE",
		Short: "Withdraw a credential",
		Long: `Withdraws a credential by its id, as 'tacit token list' prints it. Calls that have
begun go on to their end.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := access.Withdraw(callers, args[0])
			if err != nil {
				return err
			}
			u.printCredentials(newCredentialView(c))
			return nil
		},
	}
	callersFlag(cmd, &callers)
	return cmd
}

// parseToken reads what is in the file of a token.
func parseToken(data []byte) (string, error) {
	token := strings.TrimSpace(string(data))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("not a token")
	}
	return token, nil
}

// parsePEM reads a PEM block of a kind.
func parsePEM(data []byte, kind string) ([]byte, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("want PEM with a %s", kind)
	}
	return block.Bytes, nil
}

// parseSigningKey reads an Ed25519 private key (PKCS #8).
func parseSigningKey(data []byte) (crypto.Signer, error) {
	der, err := parsePEM(data, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("want an Ed25519 key")
	}
	return key, nil
}

// parsePublicKey reads an Ed25519 public key and returns it in hexadecimal.
func parsePublicKey(data []byte) (string, error) {
	der, err := parsePEM(data, "PUBLIC KEY")
	if err != nil {
		return "", err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return "", err
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return "", errors.New("want an Ed25519 key")
	}
	return hex.EncodeToString(key), nil
}

// quotaView is a quota as it is printed.
type quotaView struct {
	Principal  string  `json:"principal"`
	Weight     float64 `json:"weight,omitempty"`
	Bootstraps int64   `json:"bootstraps,omitempty"`
	Period     string  `json:"period,omitempty"`
	MaxQueued  int     `json:"max_queued,omitempty"`
}

func tokenQuotaCommand(u *ui) *cobra.Command {
	var callers string
	var q access.Quota
	var per time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "quota NAME --callers FILE",
		Short: "Set what a principal may use",
		Long: `Sets what the jobs of a principal may use, in the file of callers, which is made if it is
absent. The name "everyone" stands for all who have no quota of their own. What is
not given has no limit.

--weight is the principal's share of the work while others want it too, relative to
theirs. --bootstraps is the budget of each period of --per; periods are counted from
midnight UTC. A job that does not fit is refused until the next one.

JSON: principal, weight, bootstraps, period, max_queued.`,
		Example: `  tacit token quota alice --callers callers.json --bootstraps 1000000 --per 24h --weight 2`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Period = access.Period(per)
			if err := q.Check(); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			if err := access.SetQuota(callers, args[0], q); err != nil {
				return err
			}
			v := quotaView{Principal: args[0], Weight: q.Weight, Bootstraps: q.Bootstraps, MaxQueued: q.MaxQueued}
			if per > 0 {
				v.Period = per.String()
			}
			if asJSON {
				return u.printJSON(v)
			}
			u.printf("the quota of %s is set\n", v.Principal)
			return nil
		},
	}
	callersFlag(cmd, &callers)
	flags := cmd.Flags()
	flags.Float64Var(&q.Weight, "weight", 0, "share of the work, 0.01 to 100; 0 is 1")
	flags.Int64Var(&q.Bootstraps, "bootstraps", 0, "bootstraps in each period; 0 is no limit")
	flags.DurationVar(&per, "per", 0, "length of a period; 0 is a day")
	flags.IntVar(&q.MaxQueued, "max-queued", 0, "jobs that may wait; 0 is no limit of its own")
	jsonFlag(cmd, &asJSON)
	return cmd
}
