package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
)

func storeCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Verify, copy, back up and clean the store of a server",
		Long: `Looks after what servers keep: jobs, ciphertexts, evaluation keys, access lists.

The store is a data directory (--data) that no server has open, or that of running
servers (--nats-url), which goes on being used meanwhile. The key that signs receipts,
service.key, is in no copy and no backup: keep it apart.`,
	}
	cmd.AddCommand(storeVerifyCommand(u), storeCopyCommand(u), storeBackupCommand(u), storeRestoreCommand(u), storeCollectCommand(u))
	return cmd
}

// storePlace is where a store is: a directory, or what the flags of a connection say.
type storePlace struct {
	data string
	host.StoreConfig
}

// storeFlags adds --data and the flags of a connection to a command.
func storeFlags(cmd *cobra.Command, p *storePlace) {
	cmd.Flags().StringVar(&p.data, "data", "", "data directory of a server that is stopped")
	natsFlags(cmd, &p.StoreConfig)
	env(cmd, "data")
}

// open opens the store. A directory must be there.
func (p *storePlace) open(ctx context.Context, cmd *cobra.Command, u *ui) (*store.Node, error) {
	if (p.data == "") == (len(p.URLs) == 0) {
		return nil, wrongUsage(cmd, "say where the store is: with --data or with --nats-url")
	}
	if err := p.Check(); err != nil {
		return nil, wrongUsage(cmd, "%v", err)
	}
	if p.data != "" {
		if _, err := os.Stat(p.data); err != nil {
			return nil, err
		}
	}
	return p.StoreConfig.Open(ctx, p.data, quietLog(u))
}

// quietLog shows what goes wrong alone.
func quietLog(u *ui) *slog.Logger {
	return slog.New(slog.NewTextHandler(u.err, &slog.HandlerOptions{Level: slog.LevelError}))
}

// closeStore closes a store when a command ends.
func closeStore(ctx context.Context, n *store.Node, err *error) {
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	*err = errors.Join(*err, n.Close(closing))
}

// damagedError is a store that is not what it was.
type damagedError struct{ found, repaired int }

func (e *damagedError) Error() string {
	return fmt.Sprintf("%d values are damaged, %d of them repaired", e.found, e.repaired)
}

func (e *damagedError) Hint() string {
	return "upload damaged ciphertexts and keys again; 'tacit store copy' makes a store of what is whole"
}

// tellDamage lists damage and returns an error if there is any that was not repaired.
func (u *ui) tellDamage(list []upkeep.Damage, asJSON bool) error {
	repaired := 0
	for _, d := range list {
		state := "damaged"
		if d.Repaired {
			repaired++
			state = "repaired"
		}
		if !asJSON {
			u.printf("%s  %s/%s: %s\n", state, d.Bucket, d.Key, d.Detail)
		}
	}
	if repaired < len(list) {
		return &damagedError{len(list), repaired}
	}
	return nil
}

// counts shows how much of a store was read, in one line.
func (u *ui) counts(c store.Checked) string {
	return fmt.Sprintf("%d values, %s", c.Records, size(c.Bytes))
}

func storeVerifyCommand(u *ui) *cobra.Command {
	var place storePlace
	var repair, acceptLoss, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read everything and compare it with its SHA-256",
		Long: `Reads every value of the store, compares it with the SHA-256 that it is stored under, and
looks for everything that something refers to. What is damaged is named; the exit
code is then 1. With --repair, descriptions of ciphertexts are made anew from the
ciphertexts. That the end of a file was cut off is told of each time, until
--accept-loss takes the store as it is.

JSON: records, bytes, and damage, a list of bucket, key, detail, repaired.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			n, err := place.open(ctx, cmd, u)
			if err != nil {
				return err
			}
			defer closeStore(ctx, n, &err)
			bar := u.progress("verifying")
			v, err := upkeep.Verify(ctx, n.JetStream(), repair, func(bucket string) {
				bar.status(func(time.Duration) string { return bucket })
			})
			bar.end()
			if err != nil {
				return err
			}
			if acceptLoss {
				if err := n.AcceptTruncated(); err != nil {
					return err
				}
			}
			for _, e := range n.Truncated() {
				v.Damage = append(v.Damage, upkeep.Damage{Bucket: e.Bucket, Key: "*", Detail: fmt.Sprintf("its newest changes are gone, up to %d", e.Missing)})
			}
			if asJSON {
				if err := u.printJSON(v); err != nil {
					return err
				}
			} else {
				u.printf("%s read\n", u.counts(v.Checked))
			}
			return u.tellDamage(v.Damage, asJSON)
		},
	}
	storeFlags(cmd, &place)
	cmd.Flags().BoolVar(&repair, "repair", false, "make anew what can be made from the rest")
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false, "go on without what is gone from the ends of files")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// copiedView is what a copy or a backup did, in JSON.
type copiedView struct {
	store.Checked
	Damage []upkeep.Damage `json:"damage"`
}

func (u *ui) tellCopied(what string, c upkeep.Copied, asJSON bool) error {
	if asJSON {
		if err := u.printJSON(copiedView(c)); err != nil {
			return err
		}
	} else {
		u.printf("%s %s\n", u.counts(c.Checked), what)
	}
	return u.tellDamage(c.Damage, asJSON)
}

func (u *ui) copyProgress(what string) (show func(store.Checked), end func()) {
	bar := u.progress(what)
	return func(c store.Checked) { bar.status(func(time.Duration) string { return u.counts(c) }) }, bar.end
}

func storeCopyCommand(u *ui) *cobra.Command {
	var from, to string
	var connect host.StoreConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "copy --from DIR|URL --to DIR|URL",
		Short: "Copy a store to another one, which is empty",
		Long: `Copies everything in a store to another one: from a directory to a cluster, when one
machine is outgrown, or back, or out of a damaged store. --from and --to are data
directories that no server has open, or URLs of servers (nats://host:4222, with commas),
which the --nats flags are then for; --replicas is for the servers that are copied to.

Jobs keep their ids, their order and their results. What is damaged is left out and
named, but for what can be made from the rest: descriptions of ciphertexts, and jobs whose
records are lost while their results are not. The exit code is 1 if anything was left out.

JSON: records, bytes, and damage, a list of bucket, key, detail, repaired.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			open := func(place string, replicas int) (*store.Node, error) {
				p := storePlace{StoreConfig: connect}
				if p.Replicas = replicas; strings.Contains(place, "://") {
					p.URLs = strings.Split(place, ",")
				} else {
					p.StoreConfig = host.StoreConfig{}
				}
				return p.StoreConfig.Open(ctx, place, quietLog(u))
			}
			if !strings.Contains(from, "://") {
				if _, err := os.Stat(from); err != nil {
					return err
				}
			}
			source, err := open(from, 0)
			if err != nil {
				return err
			}
			defer closeStore(ctx, source, &err)
			target, err := open(to, connect.Replicas)
			if err != nil {
				return err
			}
			defer closeStore(ctx, target, &err)
			show, end := u.copyProgress("copying")
			c, err := upkeep.Copy(ctx, source.JetStream(), target.JetStream(), show)
			end()
			if err != nil {
				return err
			}
			return u.tellCopied("copied", c, asJSON)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "directory or URL of the store that is copied")
	cmd.Flags().StringVar(&to, "to", "", "directory or URL of the one that it is copied to")
	natsFlags(cmd, &connect)
	if err := cmd.Flags().MarkHidden("nats-url"); err != nil {
		panic(err)
	}
	jsonFlag(cmd, &asJSON)
	required(cmd, "from", "to")
	return cmd
}

func storeBackupCommand(u *ui) *cobra.Command {
	var place storePlace
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything in a store to a file",
		Long: `Writes everything in a store to a file, a tar archive with the SHA-256 of each value and
of all; - is standard output. With --nats-url servers go on working: the backup then
has everything that was acknowledged before it began. It holds evaluation keys and
ciphertexts, which give nothing away without the secret key, and access lists.

What is damaged is left out as by 'tacit store copy'.

JSON: records, bytes, and damage, a list of bucket, key, detail, repaired.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			n, err := place.open(ctx, cmd, u)
			if err != nil {
				return err
			}
			defer closeStore(ctx, n, &err)
			show, end := u.copyProgress("writing the backup")
			var c upkeep.Copied
			if args[0] == "-" {
				c, err = upkeep.Backup(ctx, n.JetStream(), u.out, show)
				end()
				if err != nil || len(c.Damage) == 0 {
					return err
				}
				for _, d := range c.Damage {
					u.warn("damaged %s/%s: %s", d.Bucket, d.Key, d.Detail)
				}
				return &damagedError{found: len(c.Damage)}
			}
			err = newFile(args[0], func(w io.Writer) error {
				c, err = upkeep.Backup(ctx, n.JetStream(), w, show)
				return err
			})
			end()
			if err != nil {
				return err
			}
			return u.tellCopied("written", c, asJSON)
		},
	}
	storeFlags(cmd, &place)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// newFile writes a file that must not exist, all of it or nothing.
func newFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	return f.Sync()
}

func storeRestoreCommand(u *ui) *cobra.Command {
	var place storePlace
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a store of a backup",
		Long: `Writes a backup into an empty store: a directory that does not exist or holds nothing, or
servers that hold nothing. - is standard input. Every value is compared with its
SHA-256 before it is written; where the command ends with an error, throw the store away.

JSON: records, bytes.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			ctx := cmd.Context()
			in := io.Reader(u.in)
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			if place.data != "" {
				if err := os.MkdirAll(place.data, 0o700); err != nil {
					return err
				}
			}
			n, err := place.open(ctx, cmd, u)
			if err != nil {
				return err
			}
			defer closeStore(ctx, n, &err)
			show, end := u.copyProgress("restoring")
			c, err := upkeep.Restore(ctx, in, n.JetStream(), show)
			end()
			if err != nil {
				return inFile(args[0], err)
			}
			if asJSON {
				return u.printJSON(c)
			}
			u.printf("%s restored\n", u.counts(c))
			return nil
		},
	}
	storeFlags(cmd, &place)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// defaultKeepJobs is how many jobs that have ended a server keeps.
const defaultKeepJobs = 100_000

// keepFlags adds the flags of a policy of what is kept.
func keepFlags(cmd *cobra.Command, p *upkeep.Policy) {
	flags := cmd.Flags()
	flags.DurationVar(&p.Jobs.Age, "keep-jobs", 30*24*time.Hour, "how long jobs that have ended are kept, with their receipts; 0 is for ever")
	flags.IntVar(&p.Jobs.Count, "keep-jobs-count", defaultKeepJobs, "how many jobs that have ended are kept; 0 is all")
	flags.DurationVar(&p.Unused, "keep-unused", 0, "how long ciphertexts are kept that nobody uses, 2h at least; 0 is for ever")
	env(cmd, "keep-jobs", "keep-jobs-count", "keep-unused")
}

// checkKeep says what is wrong with a policy.
func checkKeep(p *upkeep.Policy) error {
	if p.Jobs.Age < 0 || p.Jobs.Count < 0 || p.Unused < 0 {
		return errors.New("--keep-jobs, --keep-jobs-count and --keep-unused are not negative")
	}
	if p.Unused > 0 && p.Unused < 2*store.UseInterval {
		return fmt.Errorf("--keep-unused is %v at least: uses are noted once in %v", 2*store.UseInterval, store.UseInterval)
	}
	return nil
}

func storeCollectCommand(u *ui) *cobra.Command {
	var place storePlace
	var policy upkeep.Policy
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove jobs that have ended and ciphertexts that nobody uses",
		Long: `Removes what the policy does not keep, as servers do every hour (--keep-jobs,
--keep-jobs-count, --keep-unused of 'tacit serve'): jobs that have ended, with their
specs, results and receipts; ciphertexts that were not stored, looked up, fetched or
computed with for --keep-unused, unless a job that has not ended needs or makes them,
with the rights on them; and what a crash left behind; a
result or an upload without an owner goes to whom it was stored for. What is removed was never there: its id or handle is free.

JSON: jobs, parts (of jobs, that no job has), lists (of rights), adopted, ciphertexts, removed, orphans, bytes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkKeep(&policy); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			ctx := cmd.Context()
			n, err := place.open(ctx, cmd, u)
			if err != nil {
				return err
			}
			defer closeStore(ctx, n, &err)
			q, err := jobs.Open(ctx, n.JetStream(), jobs.Options{})
			if err != nil {
				return err
			}
			defer q.Close()
			cts, err := store.OpenCiphertexts(ctx, n.JetStream())
			if err != nil {
				return err
			}
			lists, err := access.OpenLists(ctx, n.JetStream())
			if err != nil {
				return err
			}
			bar := u.progress("collecting")
			c, err := upkeep.Collect(ctx, q, cts, lists, policy, func(h [32]byte, _ store.Meta) {
				bar.status(func(time.Duration) string { return hex.EncodeToString(h[:]) })
			})
			bar.end()
			if err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(c)
			}
			verb := "removed"
			if policy.Dry {
				verb = "would be removed"
			}
			u.printf("%d jobs, %d of %d ciphertexts and %d left-overs %s, %s of ciphertexts\n", c.Jobs, c.Removed, c.Ciphertexts, c.Orphans+c.Parts, verb, size(c.Bytes))
			return nil
		},
	}
	storeFlags(cmd, &place)
	keepFlags(cmd, &policy)
	cmd.Flags().BoolVar(&policy.Dry, "dry-run", false, "remove nothing")
	jsonFlag(cmd, &asJSON)
	return cmd
}
