package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// transferJob moves an amount, or nothing where the balance does not cover it.
const transferJob = `ok       = ge(from, amount)
sent     = select(ok, amount, 0)
new_from = sub(from, sent)
new_to   = add(to, sent)
output ok, new_from, new_to
`

// The balances before the transfers of the demo, and the amounts.
const (
	demoFrom    = 1000
	demoTo      = 250
	demoAmount  = 300
	demoTooMuch = 1001
)

func demoCommand(u *ui) *cobra.Command {
	var params, device string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show an encrypted transfer from beginning to end",
		Long: `Makes keys, starts a server over a temporary directory, encrypts two balances and
an amount with the public key alone, has the server compute the transfer over
gRPC, shows all that the server saw, and decrypts and checks the new balances.
Then it does the same with an amount that the balance does not cover. The exit
code is 1 if a balance is wrong.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := u.preset(params)
			if err != nil {
				return err
			}
			backend, _, err := u.openDevice(cmd, device, u.warnDevice)
			if err != nil {
				return err
			}
			defer backend.Close()
			d := &demo{ui: u, params: p, backend: backend}
			return d.run(cmd.Context())
		},
	}
	paramsFlag(cmd, &params)
	deviceFlag(cmd, &device)
	return cmd
}

// demo is one run of the demo.
type demo struct {
	*ui
	params  *fhe.Parameters
	backend accel.Backend
	step    int

	client *client.Client
	secret *fhe.SecretKey
	public *fhe.PublicKey
	seen   []ciphertextView // what the server holds
}

// title begins a step.
func (d *demo) title(format string, args ...any) {
	d.step++
	d.printf("\n%d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) error {
	start := d.now()
	d.printf("An encrypted transfer, with the parameters %s on the %s backend.\n", d.params.Name(), d.backend.Info().Name)
	evaluation, err := d.makeKeys(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "tacit-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ready := make(chan string, 1)
	served := make(chan error, 1)
	go func() {
		served <- host.Run(ctx, host.Config{
			Options: coprocessor.Options{Dir: dir, Params: d.params, Backend: d.backend, Version: version(), DrainTimeout: 100 * time.Millisecond},
			Listen:  "127.0.0.1:0",
		}, func(address string) { ready <- address })
	}()
	select {
	case address := <-ready:
		err = d.use(ctx, address, evaluation)
	case err = <-served:
		return err
	}
	stop()
	if err := errors.Join(err, <-served); err != nil {
		return err
	}
	d.printf("\nBoth transfers are right. It took %s in all.\n", duration(d.now().Sub(start)))
	return nil
}

func (d *demo) makeKeys(ctx context.Context) (*fhe.EvaluationKey, error) {
	d.title("Keys are made.")
	start := d.now()
	bar := d.progress("making keys")
	keys, err := fhe.GenerateKeys(ctx, d.params, fhe.NewSeed(), d.backend, func(done, total int) { bar.share(int64(done), int64(total)) })
	bar.end()
	if err != nil {
		return nil, err
	}
	d.secret, d.public = keys.Secret, keys.Public
	d.table(func(row func(...any)) {
		row("  secret key", "decrypts, stays here")
		row("  public key", "encrypts, "+size(d.params.PublicKeySize()))
		row("  evaluation key", "computes, "+size(keys.Evaluation.Size()))
		row("  key id", keys.Secret.ID())
		row("  time", duration(d.now().Sub(start)))
	})
	return keys.Evaluation, nil
}

// use does everything that needs the server.
func (d *demo) use(ctx context.Context, address string, evaluation *fhe.EvaluationKey) error {
	c, err := client.Dial(address, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	d.client = c
	d.title("A server starts on %s. It gets the evaluation key and no other.", address)
	if err := d.uploadKey(ctx, evaluation); err != nil {
		return err
	}
	if err := d.transfer(ctx, "Two balances and an amount", demoAmount); err != nil {
		return err
	}
	return d.transfer(ctx, "The same balances and an amount that they do not cover", demoTooMuch)
}

func (d *demo) uploadKey(ctx context.Context, evaluation *fhe.EvaluationKey) error {
	var key bytes.Buffer
	if _, err := evaluation.WriteTo(&key); err != nil {
		return err
	}
	start := d.now()
	bar := d.progress("uploading the evaluation key")
	info, err := d.client.UploadEvaluationKey(ctx, bytes.NewReader(key.Bytes()), bar.share)
	bar.end()
	if err != nil {
		return err
	}
	d.printf("  %s uploaded in %s\n", size(info.Size), duration(d.now().Sub(start)))
	return nil
}

// transfer has the server move an amount, and checks what became of it.
func (d *demo) transfer(ctx context.Context, what string, amount uint64) error {
	d.title("%s are encrypted, with the public key alone.", what)
	handles, err := d.encrypt(ctx, demoFrom, demoTo, amount)
	if err != nil {
		return err
	}
	d.title("A job goes to the server over gRPC, and the server computes.")
	for line := range strings.Lines(transferJob) {
		d.printf("  %s", line)
	}
	d.printf("\n")
	file, err := jobfile.Parse([]byte(transferJob))
	if err != nil {
		return err
	}
	spec, err := file.Spec(map[string]graph.Handle{"from": handles[0], "to": handles[1], "amount": handles[2]})
	if err != nil {
		return err
	}
	id := d.secret.ID()
	spec.KeyId = id[:]
	digest := graph.SpecDigest(spec)
	name := hex.EncodeToString(digest[:])
	if _, err := d.client.Submit(ctx, name, spec); err != nil {
		return err
	}
	job, err := d.follow(ctx, d.client, name)
	if err != nil {
		return err
	}
	view := newJobView(job)
	if err := ended(view); err != nil {
		return err
	}
	d.printNodes(view.Nodes)
	d.printf("  %d bootstraps in %s\n", view.bootstraps(), duration(view.took()))
	names := jobfile.OutputNames(spec)
	if len(view.Results) != len(names) {
		return &client.MismatchError{What: "job", Reason: fmt.Sprintf("%d results, want %d", len(view.Results), len(names))}
	}
	for i, name := range names {
		view.Results[i].Name = name
	}
	d.seen = append(d.seen, view.Results...)

	d.title("This is all that the server saw.")
	d.table(func(row func(...any)) {
		row("  handle", "type", "size", "sha256 of the ciphertext", "name")
		for _, c := range d.seen {
			row("  "+c.Handle[:16]+"…", c.Type, size(c.Size), c.Digest[:32]+"…", c.Name)
		}
	})
	d.seen = nil

	d.title("The results are fetched and decrypted with the secret key.")
	ok, from, to := true, uint64(demoFrom-amount), demoTo+amount
	if amount > demoFrom {
		ok, from, to = false, demoFrom, demoTo
	}
	return d.check(ctx, view.Results, fmt.Sprintf("ebool:%v", ok), fmt.Sprintf("euint64:%d", from), fmt.Sprintf("euint64:%d", to))
}

// encrypt encrypts and uploads, and returns the handles.
func (d *demo) encrypt(ctx context.Context, values ...uint64) ([]graph.Handle, error) {
	names := []string{"from", "to", "amount"}
	var scalars []integer.Scalar
	for i, v := range values {
		scalars = append(scalars, integer.Plain(integer.Uint64, v))
		d.printf("  %-9s %s\n", names[i], scalars[i])
	}
	start := d.now()
	enc, err := d.public.Encrypter(d.backend)
	if err != nil {
		return nil, err
	}
	list, err := integer.Encrypt(d.params, d.public.ID(), enc, fhe.NewSeed(), scalars...)
	if err != nil {
		return nil, err
	}
	data, err := list.MarshalBinary()
	if err != nil {
		return nil, err
	}
	took := d.now().Sub(start)
	infos, err := d.client.UploadList(ctx, data)
	if err != nil {
		return nil, err
	}
	d.printf("  %s, made in %s\n", size(len(data)), duration(took))
	var handles []graph.Handle
	for i, info := range infos {
		view := newCiphertextView(info)
		view.Name = names[i]
		d.seen = append(d.seen, view)
		h, err := graph.ParseHandle(view.Handle)
		if err != nil {
			return nil, err
		}
		handles = append(handles, h)
	}
	if len(handles) != len(values) {
		return nil, &client.MismatchError{What: "upload", Reason: fmt.Sprintf("%d handles for %d values", len(handles), len(values))}
	}
	return handles, nil
}

// check fetches, decrypts and compares.
func (d *demo) check(ctx context.Context, results []ciphertextView, want ...string) error {
	var wrong error
	for i, r := range results {
		h, err := graph.ParseHandle(r.Handle)
		if err != nil {
			return err
		}
		cts, err := d.client.Fetch(ctx, h)
		if err != nil {
			return err
		}
		list, err := integer.UnmarshalList(cts[0].Record, d.params)
		if err == nil {
			err = inspect.CheckKey(list, d.secret)
		}
		if err != nil {
			return err
		}
		got := integer.Decrypt(d.secret, list.Value(0)).String()
		d.printf("  %-9s %-13s", r.Name, got)
		if got == want[i] {
			d.printf("  right\n")
			continue
		}
		d.printf("  WRONG, it should be %s\n", want[i])
		wrong = errors.New("a decrypted result is wrong")
	}
	return wrong
}
