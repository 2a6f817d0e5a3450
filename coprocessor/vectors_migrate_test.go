package coprocessor

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// vectorMigrationKey is the container of a migration key.
func vectorMigrationKey(t testing.TB, from, to *leveled.KeySet) []byte {
	t.Helper()
	k, err := leveled.NewMigrationKey(from.Secret, to.Secret)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	must(k.WriteTo(&b))
	return b.Bytes()
}

// sendVectorKey uploads an evaluation key.
func (s *service) sendVectorKey(keys *leveled.KeySet) {
	s.t.Helper()
	var b bytes.Buffer
	must(keys.Evaluation.WriteTo(&b))
	if _, err := s.sendKey(s.t.Context(), upload{content: b.Bytes()}); err != nil {
		s.t.Fatal(err)
	}
}

// handlesIn are the handles of the inputs in a text.
func handlesIn(inputs string) (handles [][]byte) {
	for line := range strings.Lines(inputs) {
		var name string
		var h []byte
		if _, err := fmt.Sscanf(line, "input %s = 0x%x", &name, &h); err != nil {
			panic(err)
		}
		handles = append(handles, h)
	}
	return handles
}

// TestVectorMigration moves vectors of every scheme, fresh and computed, to another key, with the migration key in one
// message or in chunks: handles and values stay, the error grows by what was predicted, jobs go on under the new
// key, and old versions are there until they are dropped.
func TestVectorMigration(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []float64
	}{
		"bgv-13":  {"c = mul(a, b)\nd = rescale(c)\noutput d", []float64{5, 12, 21, 32}},
		"bfv-13":  {"c = mul(a, b)\nd = add(c, a)\noutput d", []float64{6, 14, 24, 36}},
		"ckks-13": {"c = mul(a, b)\nd = rescale(c)\noutput d", []float64{0.125, 0.125, -0.75, 0.125}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			from, to := vectorKeys[name](), otherVectorKeys[name]()
			fromID, toID, p := from.Secret.ID(), to.Secret.ID(), from.Secret.Parameters()
			key := vectorMigrationKey(t, from, to)
			digest := upload{content: key}.id()
			public, secret := leveled.NewPublicEncryptor(from.Public), leveled.NewEncryptor(from.Secret)
			var a, b *leveled.Ciphertext
			if p.Scheme().Integers() {
				a, b = must(public.Integers([]int64{1, 2, 3, 4})), must(secret.Integers([]int64{5, 6, 7, 8}))
			} else {
				a, b = must(public.Reals([]float64{0.25, 0.5, -0.75, 1})), must(secret.Reals([]float64{0.5, 0.25, 1, 0.125}))
			}
			values := func(keys *leveled.KeySet, c *leveled.Ciphertext) (out []float64) {
				t.Helper()
				dec := leveled.NewDecryptor(keys.Secret)
				if !p.Scheme().Integers() {
					return must(dec.Reals(c))
				}
				for _, v := range must(dec.Integers(c)) {
					out = append(out, float64(v))
				}
				return out
			}
			same := func(what string, got, want []float64) {
				t.Helper()
				for i := range want {
					if len(got) != len(want) || math.Abs(got[i]-want[i]) > 1e-4 {
						t.Fatalf("%s: got %v, want %v", what, got, want)
					}
				}
			}
			// Two services come to the same digests.
			var digests [2][]string
			for i := range digests {
				s, _ := start(t)
				inputs := s.vectors(from, a, b)
				s.sendVectorKey(to)
				spec := specUnder(t, fromID, inputs+test.text)
				job := s.run("before", spec)
				if job.State != succeeded {
					t.Fatal(job.Error)
				}
				handles := append(handlesIn(inputs), job.Results[0].Handle)
				var old []*leveled.Ciphertext
				var before [][]byte
				for _, h := range handles {
					old, before = append(old, s.vector(h)), append(before, s.stat(h).Digest)
				}
				var m *tacitv1.Migration
				var err error
				if i == 0 {
					m, err = s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: key})
				} else {
					m, err = s.sendMigrationKey(ctx, upload{content: key, chunk: 100_000})
				}
				if err != nil {
					t.Fatal(err)
				}
				if m = s.waitMigration(m); m.State != tacitv1.MigrationState_MIGRATION_STATE_DONE || m.Moved != 3 || m.Waiting != 0 || m.Failed != 0 || m.EndTime == nil || !bytes.Equal(m.ToKeyId, toID[:]) {
					t.Errorf("%v", m)
				}
				for j, h := range handles {
					moved, now := s.vector(h), s.stat(h)
					if want := must(p.PredictMigrate(old[j].Noise())); moved.Noise() != want || moved.KeyID() != toID || moved.Length() != old[j].Length() {
						t.Errorf("vector %d has %+v, want %+v", j, moved.Noise(), want)
					}
					same("moved", values(to, moved), values(from, old[j]))
					if !bytes.Equal(now.KeyId, toID[:]) || now.GetType() != vectorType(p) || bytes.Equal(now.Digest, before[j]) {
						t.Errorf("%v", now)
					}
					digests[i] = append(digests[i], fmt.Sprintf("%x", now.Digest))
					past, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{h}, KeyId: fromID[:]})
					if err != nil || len(past.Ciphertexts) != 1 || !bytes.Equal(past.Ciphertexts[0].Digest, before[j]) {
						t.Errorf("the old version: %v, %v", past, err)
					}
				}
				if info := s.info(fromID); info.State != tacitv1.KeyState_KEY_STATE_RETIRED || !bytes.Equal(info.MigratedTo, toID[:]) {
					t.Errorf("%v", info)
				}
				after := s.run("after", specUnder(t, toID, inputs+test.text))
				if after.State != succeeded {
					t.Fatal(after.Error)
				}
				same("a job under the new key", values(to, s.vector(after.Results[0].Handle)), test.want)
				_, err = s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "late", Spec: spec})
				if refused(t, err).reason != "KEY_RETIRED" {
					t.Errorf("a job under the old key: %v", err)
				}
				// The old job can be computed again from the old versions.
				r := must(receipt.Decode(job.Receipt.GetContainer()))
				var evaluation bytes.Buffer
				must(from.Evaluation.WriteTo(&evaluation))
				audit := Audit{
					Params: s.opts.Params, Backend: s.opts.Backend, Key: &evaluation, Spec: spec,
					Record: func(ctx context.Context, h [32]byte) ([]byte, error) { return s.ciphertexts.GetUnder(ctx, h, fromID) },
				}
				if err := Recompute(ctx, r, audit); err != nil {
					t.Errorf("an old receipt: %v", err)
				}
				// The same again changes nothing, and its chunks are not needed.
				if again, err := s.sendMigrationKey(ctx, upload{header: digest, size: uint64(len(key))}); err != nil || again.Moved != m.Moved {
					t.Errorf("the same migration key again: %v, %v", again, err)
				}
				if again, err := s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: key}); err != nil || again.Moved != m.Moved {
					t.Errorf("the same migration key again, in one message: %v, %v", again, err)
				}
				_, err = s.sendMigrationKey(ctx, upload{content: vectorMigrationKey(t, from, to)})
				if refused(t, err).reason != "KEY_EXISTS" {
					t.Errorf("another migration key: %v", err)
				}
				if m, err = s.CoprocessorClient.ConfirmMigration(ctx, &tacitv1.ConfirmMigrationRequest{KeyId: fromID[:]}); err != nil || m.State != tacitv1.MigrationState_MIGRATION_STATE_CONFIRMED {
					t.Errorf("%v, %v", m, err)
				}
				past, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: handles, KeyId: fromID[:]})
				if err != nil || len(past.Missing) != len(handles) {
					t.Errorf("old versions after the end: %v, %v", past, err)
				}
				if again, err := s.sendMigrationKey(ctx, upload{header: digest, size: uint64(len(key))}); err != nil || again.State != m.State {
					t.Errorf("the same migration key after the end: %v, %v", again, err)
				}
				same("after the end", values(to, s.vector(handles[2])), test.want)
			}
			if !slices.Equal(digests[0], digests[1]) {
				t.Errorf("two services disagree: %v", digests)
			}
		})
	}
}

// A vector whose error leaves no room for that of the switch stays, and the migration tells.
func TestVectorMigrationFails(t *testing.T) {
	s, _ := start(t)
	from, to := vectorKeys["bgv-13"](), otherVectorKeys["bgv-13"]()
	p, id := from.Secret.Parameters(), from.Secret.ID()
	inputs := s.vectors(from, must(leveled.NewEncryptor(from.Secret).Integers([]int64{1})))
	s.sendVectorKey(to)
	job := s.run("rescaled", specUnder(t, id, inputs+"b = rescale(a)\nc = rescale(b)\nd = rescale(c)\noutput d"))
	h := job.Results[0].Handle
	// The same with the largest error that decrypts.
	noise := s.vector(h).Noise()
	for low, high := noise.LogSigma, noise.LogSigma+p.Room(noise)+1; high-low > 1e-12; {
		noise.LogSigma = (low + high) / 2
		if p.Room(noise) > 0 {
			low = noise.LogSigma
		} else {
			high = noise.LogSigma
		}
		noise.LogSigma = math.Floor(low*(1<<20)) / (1 << 20)
	}
	full := edit(s.record(h), func(b []byte) {
		const logSigma = codec.HeaderSize + 32 + 2 + 1 + 4 + 1
		bits := math.Float64bits(noise.LogSigma)
		for i := range 8 {
			b[logSigma+i] = byte(bits >> (8 * i))
		}
	})
	ctx, handle := t.Context(), [32]byte{7}
	if err := s.ciphertexts.Put(ctx, store.Ciphertext{Handle: handle, Type: uint8(s.stat(h).GetType()), KeyID: id, Record: full}); err != nil {
		t.Fatal(err)
	}
	m, err := s.sendMigrationKey(ctx, upload{content: vectorMigrationKey(t, from, to)})
	if err != nil {
		t.Fatal(err)
	}
	m = s.waitMigration(m)
	if m.Moved != 2 || m.Failed != 1 || len(m.Failures) != 1 || !bytes.Equal(m.Failures[0].Handle, handle[:]) || !strings.Contains(m.Failures[0].Message, "migrate: the result would not decrypt") {
		t.Errorf("%v", m)
	}
	if now := s.stat(handle[:]); !bytes.Equal(now.KeyId, id[:]) {
		t.Errorf("%v", now)
	}
	// A panic ends the move of one ciphertext alone.
	move := &migration{server: s.Server, from: id, to: to.Secret.ID(), mover: panicking{}}
	if err := move.one(ctx, handle); refused(t, err).reason != "PANIC" {
		t.Errorf("a panic: %v", err)
	}
}

// panicking is a mover that does not get far.
type panicking struct{}

func (panicking) move(context.Context, graph.Handle, []byte) ([]byte, error) { panic("no") }
func (panicking) close()                                                     {}

// TestVectorMigrationRefuses sends what is no migration key of two keys that are there, in one message and in chunks.
func TestVectorMigrationRefuses(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.MaxKey = 8 << 20 })
	ctx := t.Context()
	from, to := vectorKeys["bgv-13"](), otherVectorKeys["bgv-13"]()
	s.prepare(integer.Plain(integer.Uint8, 1))
	s.sendVectorKey(from)
	good := vectorMigrationKey(t, from, to)
	reject := func(what string, container []byte, want refusal) {
		t.Helper()
		if _, err := s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: container}); refused(t, err) != want {
			t.Errorf("%s, in one message: %v", what, err)
		}
		if _, err := s.sendMigrationKey(ctx, upload{content: container, chunk: 50_000}); refused(t, err) != want {
			t.Errorf("%s, in chunks: %v", what, err)
		}
	}
	unknown := refusal{codes.NotFound, "UNKNOWN_KEY", ""}
	if r := refused(t, func() error {
		_, err := s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: good})
		return err
	}()); r.code != unknown.code || r.reason != unknown.reason {
		t.Errorf("to a key that is not there: %+v", r)
	}
	s.sendVectorKey(to)
	ids := func(from, to fhe.KeyID) []byte {
		return edit(good, func(b []byte) { copy(b[copy(b[codec.HeaderSize:], from[:])+codec.HeaderSize:], to[:]) })
	}
	fromID, toID, integers := from.Secret.ID(), to.Secret.ID(), testKeys().Secret.ID()
	mismatch := refusal{codes.FailedPrecondition, "PARAMETERS_MISMATCH", "migration_key"}
	reject("from a key of integers", ids(integers, toID), mismatch)
	reject("to a key of integers", ids(fromID, integers), mismatch)
	reject("to itself", ids(fromID, fromID), refusal{codes.FailedPrecondition, "CANNOT_MIGRATE", "migration_key"})
	reject("damaged", flip(good, len(good)-1), refusal{codes.InvalidArgument, "MALFORMED", "digest"})
	reject("a byte more", append(bytes.Clone(good), 0), refusal{codes.InvalidArgument, "MALFORMED", ""})
	reject("cut off", good[:len(good)/2], refusal{codes.InvalidArgument, "MALFORMED", "key switch to the new secret.body"})
	reject("a residue over its prime", edit(good, func(b []byte) { copy(b[codec.HeaderSize+96:], bytes.Repeat([]byte{0xff}, 6)) }),
		refusal{codes.InvalidArgument, "MALFORMED", "row 0[0]"})
	reject("another object", evaluationKey(t)[:1000], refusal{codes.InvalidArgument, "WRONG_KIND", "kind"})
	reject("no object", []byte("nothing"), refusal{codes.InvalidArgument, "MALFORMED", "magic"})
	for _, test := range []struct {
		what string
		sent upload
		want refusal
	}{
		{"no header", upload{noHeader: true, content: good}, refusal{codes.InvalidArgument, "BAD_STREAM", "header"}},
		{"a second header", upload{secondHeader: true, content: good, chunk: 1000}, refusal{codes.InvalidArgument, "BAD_STREAM", ""}},
		{"a digest of 31 bytes", upload{header: make([]byte, 31), content: good}, refusal{codes.InvalidArgument, "BAD_DIGEST", "header.sha256"}},
		{"another digest", upload{header: make([]byte, 32), content: good}, refusal{codes.InvalidArgument, "DIGEST_MISMATCH", "header.sha256"}},
		{"over the largest key", upload{size: 8<<20 + 1, content: good}, refusal{codes.InvalidArgument, "TOO_LARGE", "header.size"}},
		{"less than its size", upload{size: uint64(len(good) + 1), content: good}, refusal{codes.InvalidArgument, "TRUNCATED", "chunk"}},
		{"more than its size", upload{size: uint64(len(good) - 1), content: good}, refusal{codes.InvalidArgument, "TRAILING", "chunk"}},
	} {
		used := allocates(func() {
			if _, err := s.sendMigrationKey(ctx, test.sent); refused(t, err) != test.want {
				t.Errorf("%s: %v", test.what, err)
			}
		})
		if limit := uint64(8*len(test.sent.content) + 8<<20); used > limit {
			t.Errorf("%s: %d bytes allocated, want at most %d", test.what, used, limit)
		}
	}
	// Nothing of all this has begun anything.
	if _, err := s.CoprocessorClient.GetMigration(ctx, &tacitv1.GetMigrationRequest{KeyId: fromID[:]}); refused(t, err).reason != "NOT_THERE" {
		t.Errorf("a migration: %v", err)
	}
	s.vectors(from, must(leveled.NewEncryptor(from.Secret).Integers([]int64{1})))
}

// A migration key whose connection breaks in the middle, again and again, is continued, by its principal alone.
func TestMigrationKeyOverABrokenConnection(t *testing.T) {
	p := must(leveled.ByName("bgv-14-t32"))
	sets := make([]*leveled.KeySet, 2)
	for i := range sets {
		sets[i] = must(leveled.GenerateKeys(p, leveled.KeySpec{Rotations: []int{}}, nil))
	}
	s, _ := start(t)
	inputs := s.vectors(sets[0], must(leveled.NewEncryptor(sets[0].Secret).Integers([]int64{42})))
	s.sendVectorKey(sets[1])
	key := vectorMigrationKey(t, sets[0], sets[1])
	if len(key) < 2*client.ChunkSize {
		t.Fatalf("the key has %d bytes, less than two chunks", len(key))
	}
	c, proxy := s.dialBroken(t)
	var last int64
	m, err := c.StartMigration(t.Context(), key, func(done, _ int64) { last = done })
	if err != nil || last != int64(len(key)) {
		t.Fatalf("%d bytes of %d, %v", last, len(key), err)
	}
	if broken, bytes := proxy.broken(); broken == 0 || bytes > int64(len(key)*2) {
		t.Errorf("%d connections were broken, %d bytes sent of %d", broken, bytes, len(key))
	}
	if m = s.waitMigration(m); m.Moved != 1 {
		t.Errorf("%v", m)
	}
	if got := must(leveled.NewDecryptor(sets[1].Secret).Integers(s.vector(handlesIn(inputs)[0]))); got[0] != 42 {
		t.Errorf("got %v", got)
	}
}

// TestVectorMigrationSurvivesKill kills a server again and again while it moves vectors.
func TestVectorMigrationSurvivesKill(t *testing.T) {
	const count = 60
	from, to := vectorKeys["bfv-13"](), otherVectorKeys["bfv-13"]()
	enc := leveled.NewEncryptor(from.Secret)
	var vectors []*leveled.Ciphertext
	for i := range int64(count) {
		vectors = append(vectors, must(enc.Integers([]int64{i})))
	}
	survivesKill(t, vectorMigrationKey(t, from, to), func(s *service) (handles [][]byte) {
		for part := range slices.Chunk(vectors, 20) {
			handles = append(handles, handlesIn(s.vectors(from, part...))...)
		}
		s.sendVectorKey(to)
		return handles
	})
}
