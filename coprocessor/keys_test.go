package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// migrationKey is the container of a migration key.
func migrationKey(t testing.TB, from, to *fhe.KeySet) []byte {
	t.Helper()
	k, err := fhe.NewMigrationKey(from.Secret, to.Secret)
	if err != nil {
		t.Fatal(err)
	}
	data, err := k.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s *service) info(id fhe.KeyID) *tacitv1.EvaluationKeyInfo {
	s.t.Helper()
	info, err := s.CoprocessorClient.GetKey(s.t.Context(), &tacitv1.GetKeyRequest{KeyId: id[:]})
	if err != nil {
		s.t.Fatal(err)
	}
	return info
}

// TestKeyStates: a retired key takes no jobs and no ciphertexts, and what is there stays.
func TestKeyStates(t *testing.T) {
	s, _ := start(t)
	h := s.prepare(integer.Plain(integer.Uint8, 40), integer.Plain(integer.Uint8, 2))
	sum := spec(t, fmt.Sprintf("input a = 0x%s\ninput b = 0x%s\nc = add(a, b)\noutput c", h[0], h[1]))
	ctx, id := t.Context(), testKeys().Secret.ID()
	if info := s.info(id); info.State != tacitv1.KeyState_KEY_STATE_ACTIVE || info.Parameters.Name != fhe.TestPreset || info.CreateTime == nil || info.PublicKeyDigest != nil {
		t.Errorf("%v", info)
	}
	done := s.run("before", sum)
	info, err := s.CoprocessorClient.RetireKey(ctx, &tacitv1.RetireKeyRequest{KeyId: id[:]})
	if err != nil || info.State != tacitv1.KeyState_KEY_STATE_RETIRED {
		t.Fatalf("%v, %v", info, err)
	}
	_, err = s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "after", Spec: sum})
	if r := refused(t, err); r.reason != "KEY_RETIRED" || r.place != "key_id" || code(err) != codes.FailedPrecondition {
		t.Errorf("a job: %v", err)
	}
	_, err = s.sendList(ctx, upload{content: encrypted(t, "late", integer.Plain(integer.Uint8, 1))})
	if r := refused(t, err); r.reason != "KEY_RETIRED" {
		t.Errorf("a ciphertext: %v", err)
	}
	if job := s.submit("before", sum); job.State != succeeded {
		t.Errorf("the job that was there: %v", job)
	}
	if got := s.decrypt(done.Results[0].Handle); got != "euint8:42" {
		t.Errorf("fetched %s", got)
	}
	if _, err := s.CoprocessorClient.ActivateKey(ctx, &tacitv1.ActivateKeyRequest{KeyId: id[:]}); err != nil {
		t.Fatal(err)
	}
	s.submit("after", sum)
}

// TestPublicKey: what an owner uploads everyone with a right gets, and only once.
func TestPublicKey(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	container, err := testKeys().Public.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	id := testKeys().Public.ID()
	get := func(s *service) ([]byte, error) {
		resp, err := s.CoprocessorClient.GetPublicKey(ctx, &tacitv1.GetPublicKeyRequest{KeyId: id[:]})
		return resp.GetContainer(), err
	}
	if _, err := get(alice); refused(t, err).reason != "NOT_THERE" {
		t.Errorf("before it is there: %v", err)
	}
	for range 2 {
		info, err := alice.CoprocessorClient.UploadPublicKey(ctx, &tacitv1.UploadPublicKeyRequest{Container: container})
		if digest := sha256.Sum256(container); err != nil || !bytes.Equal(info.Digest, digest[:]) || !bytes.Equal(info.KeyId, id[:]) || !bytes.Equal(alice.info(id).PublicKeyDigest, digest[:]) {
			t.Errorf("%v, %v", info, err)
		}
	}
	if _, err := get(bob); refused(t, err).reason != "UNKNOWN_KEY" {
		t.Errorf("bob without a right: %v", err)
	}
	g.grant(evaluation(id[:]), "bob", tacitv1.Right_RIGHT_COMPUTE)
	if got, err := get(bob); err != nil || !bytes.Equal(got, container) {
		t.Errorf("bob: %v", err)
	}
	pk, err := fhe.UnmarshalPublicKey(container)
	if err != nil || pk.ID() != id {
		t.Errorf("%v", err)
	}
	// Another public key that claims the same id.
	p := testKeys().Secret.Parameters()
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	_, forged, err := fhe.EncryptionKeys(p, testSeed("forged"), backend)
	if err != nil {
		t.Fatal(err)
	}
	other, err := forged.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	other = reseal(edit(other, func(b []byte) { copy(b[codec.HeaderSize:], id[:]) }))
	if _, err := alice.CoprocessorClient.UploadPublicKey(ctx, &tacitv1.UploadPublicKeyRequest{Container: other}); refused(t, err).reason != "KEY_EXISTS" {
		t.Errorf("another: %v", err)
	}
	// Carol becomes an owner by uploading the evaluation key, and decides nothing.
	carol := g.user("carol")
	if _, err := carol.sendKey(ctx, upload{content: evaluationKey(t)}); err != nil {
		t.Fatal(err)
	}
	_, err = carol.CoprocessorClient.UploadPublicKey(ctx, &tacitv1.UploadPublicKeyRequest{Container: container})
	if refused(t, err).reason != "NOT_FIRST_OWNER" {
		t.Errorf("a later owner: %v", err)
	}
	_, err = carol.CoprocessorClient.RetireKey(ctx, &tacitv1.RetireKeyRequest{KeyId: id[:]})
	if refused(t, err).reason != "NOT_FIRST_OWNER" {
		t.Errorf("a later owner retires: %v", err)
	}
}

// migrate starts a migration and waits for its end.
func (s *service) migrate(from, to *fhe.KeySet) *tacitv1.Migration {
	s.t.Helper()
	m, err := s.CoprocessorClient.StartMigration(s.t.Context(), &tacitv1.StartMigrationRequest{MigrationKey: migrationKey(s.t, from, to)})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.waitMigration(m)
}

func (s *service) waitMigration(m *tacitv1.Migration) *tacitv1.Migration {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); m.State == tacitv1.MigrationState_MIGRATION_STATE_RUNNING; time.Sleep(5 * time.Millisecond) {
		var err error
		if m, err = s.CoprocessorClient.GetMigration(s.t.Context(), &tacitv1.GetMigrationRequest{KeyId: m.FromKeyId}); err != nil {
			s.t.Fatal(err)
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the migration does not end: %v", m)
		}
	}
	return m
}

// TestMigration moves uploads and results to another key: handles, rights and values
// stay, jobs go on under the new key, and old versions are there until they are dropped.
func TestMigration(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	from, to := testKeys(), otherKeys()
	fromID, toID := from.Secret.ID(), to.Secret.ID()
	if _, err := alice.sendKey(ctx, upload{content: otherKey(t)}); err != nil {
		t.Fatal(err)
	}
	result, err := alice.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "done"})
	if err != nil {
		t.Fatal(err)
	}
	g.grant(ciphertext(g.handle(0)), "bob", tacitv1.Right_RIGHT_READ)
	handles := [][]byte{g.handle(0), g.handle(1), result.Results[0].Handle}
	want := make([]string, len(handles))
	before := make([]*tacitv1.CiphertextInfo, len(handles))
	for i, h := range handles {
		want[i] = alice.decryptUnder(from.Secret, h)
		before[i] = alice.stat(h)
	}

	m := alice.migrate(from, to)
	if m.State != tacitv1.MigrationState_MIGRATION_STATE_DONE || m.Moved != uint64(len(handles)) || m.Waiting != 0 || m.Failed != 0 || m.EndTime == nil {
		t.Errorf("%v", m)
	}
	for i, h := range handles {
		if got := alice.decryptUnder(to.Secret, h); got != want[i] {
			t.Errorf("handle %d is %s, want %s", i, got, want[i])
		}
		now := alice.stat(h)
		if !bytes.Equal(now.KeyId, toID[:]) || bytes.Equal(now.Digest, before[i].Digest) || now.GetType() != before[i].GetType() {
			t.Errorf("%v, before %v", now, before[i])
		}
		old, err := alice.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{h}, KeyId: fromID[:]})
		if err != nil || len(old.Ciphertexts) != 1 || !bytes.Equal(old.Ciphertexts[0].Digest, before[i].Digest) {
			t.Errorf("the old version: %v, %v", old, err)
		}
	}
	if info := alice.info(fromID); info.State != tacitv1.KeyState_KEY_STATE_RETIRED || !bytes.Equal(info.MigratedTo, toID[:]) {
		t.Errorf("%v", info)
	}
	if got := bob.decryptUnder(to.Secret, handles[0]); got != want[0] {
		t.Errorf("bob reads %s", got)
	}
	text := fmt.Sprintf("input a = 0x%x\ninput b = 0x%x\nc = add(a, b)\noutput c", handles[0], handles[1])
	job := alice.run("under-new", specUnder(t, toID, text))
	if job.State != succeeded || alice.decryptUnder(to.Secret, job.Results[0].Handle) != want[2] {
		t.Errorf("a job under the new key: %v", job)
	}
	_, err = alice.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "under-old", Spec: specUnder(t, fromID, text)})
	if refused(t, err).reason != "KEY_RETIRED" {
		t.Errorf("a job under the old key: %v", err)
	}
	// The old result can still be audited: its versions are those of its key.
	r, err := receipt.Decode(result.Receipt.Container)
	if err != nil {
		t.Fatal(err)
	}
	a := alice.audit("done")
	a.Record = func(ctx context.Context, h [32]byte) ([]byte, error) { return g.ciphertexts.GetUnder(ctx, h, fromID) }
	if err := Recompute(ctx, r, a); err != nil {
		t.Errorf("an old receipt: %v", err)
	}

	if again := alice.migrate(from, to); again.Moved != m.Moved {
		t.Errorf("the same migration again: %v", again)
	}
	if _, err := alice.CoprocessorClient.ActivateKey(ctx, &tacitv1.ActivateKeyRequest{KeyId: fromID[:]}); refused(t, err).reason != "KEY_MIGRATED" {
		t.Errorf("activated: %v", err)
	}
	_, err = alice.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: migrationKey(t, to, from)})
	if refused(t, err).reason != "KEY_RETIRED" {
		t.Errorf("back again: %v", err)
	}
	for range 2 {
		m, err = alice.CoprocessorClient.ConfirmMigration(ctx, &tacitv1.ConfirmMigrationRequest{KeyId: fromID[:]})
		if err != nil || m.State != tacitv1.MigrationState_MIGRATION_STATE_CONFIRMED {
			t.Errorf("%v, %v", m, err)
		}
	}
	old, err := alice.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: handles, KeyId: fromID[:]})
	if err != nil || len(old.Missing) != len(handles) {
		t.Errorf("old versions after the end: %v, %v", old, err)
	}
	if got := alice.decryptUnder(to.Secret, handles[2]); got != want[2] {
		t.Errorf("after the end: %s", got)
	}
}

// TestMigrationIsDeterministic: two services agree on the digests, however the migration key comes.
func TestMigrationIsDeterministic(t *testing.T) {
	var digests [2][]string
	for i := range digests {
		s, _ := start(t)
		h := s.prepare(integer.Plain(integer.Uint16, 4711), integer.Plain(integer.Bool, 1))
		if _, err := s.sendKey(t.Context(), upload{content: otherKey(t)}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			s.migrate(testKeys(), otherKeys())
		} else if m, err := s.sendMigrationKey(t.Context(), upload{content: migrationKey(t, testKeys(), otherKeys()), chunk: 1000}); err != nil {
			t.Fatal(err)
		} else {
			s.waitMigration(m)
		}
		for _, name := range h {
			raw, _ := hex.DecodeString(name)
			digests[i] = append(digests[i], hex.EncodeToString(s.stat(raw).Digest))
		}
	}
	if strings.Join(digests[0], " ") != strings.Join(digests[1], " ") {
		t.Errorf("%s", digests)
	}
}

// TestMigrationWaitsForJobs: jobs of the old key that are queued run to their end, on the
// versions of their inputs that they were submitted for, and their results move too.
func TestMigrationWaitsForJobs(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.ConcurrentJobs = 1 })
	s.sums(1) // the key and the inputs
	if _, err := s.sendKey(t.Context(), upload{content: otherKey(t)}); err != nil {
		t.Fatal(err)
	}
	ids := []string{"j0", "j1"}
	for i, id := range ids {
		s.submit(id, s.sums(60+i))
	}
	m := s.migrate(testKeys(), otherKeys())
	for i, id := range ids {
		job := s.get(id)
		if job.State != succeeded {
			t.Fatalf("%v", job)
		}
		if got, want := s.decryptUnder(otherKeys().Secret, job.Results[0].Handle), fmt.Sprintf("euint64:%d", 62+i); got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	if m.Moved != 4 {
		t.Errorf("%v", m)
	}
}

func TestMigrationRefuses(t *testing.T) {
	s, _ := start(t)
	s.prepare(integer.Plain(integer.Uint8, 1))
	ctx := t.Context()
	start := func(container []byte) refusal {
		t.Helper()
		_, err := s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: container})
		return refused(t, err)
	}
	good := migrationKey(t, testKeys(), otherKeys())
	if r := start(good); r.reason != "UNKNOWN_KEY" {
		t.Errorf("to a key that is not there: %+v", r)
	}
	if r := start(flip(good, len(good)/2)); r.reason != "MALFORMED" {
		t.Errorf("damaged: %+v", r)
	}
	if r := start(evaluationKey(t)[:1000]); r.reason != "WRONG_KIND" {
		t.Errorf("another object: %+v", r)
	}
	id := testKeys().Secret.ID()
	if _, err := s.CoprocessorClient.ConfirmMigration(ctx, &tacitv1.ConfirmMigrationRequest{KeyId: id[:]}); refused(t, err).reason != "NOT_THERE" {
		t.Errorf("confirming nothing: %v", err)
	}
}

// TestRotateServiceKey: receipts of before stay verifiable.
func TestRotateServiceKey(t *testing.T) {
	dir := t.TempDir()
	s, stop := start(t, func(o *Options) { o.Dir = dir })
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	sum := func(id string) *receipt.Receipt {
		t.Helper()
		job := s.run(id, spec(t, fmt.Sprintf("input a = 0x%s\nb = add(a, %d)\noutput b", h[0], len(id))))
		r, err := receipt.Decode(job.Receipt.Container)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := sum("a")
	resp, err := s.CoprocessorClient.RotateServiceKey(t.Context(), &tacitv1.RotateServiceKeyRequest{})
	if err != nil || len(resp.Keys) != 2 || resp.Keys[0].RetireTime != nil || resp.Keys[1].RetireTime == nil || !bytes.Equal(resp.Keys[1].PublicKey, before.ServiceKey[:]) {
		t.Fatalf("%v, %v", resp, err)
	}
	after := sum("bb")
	if !bytes.Equal(after.ServiceKey[:], resp.Keys[0].PublicKey) {
		t.Error("signed under the old key")
	}
	stop()
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	info, err := s.CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{})
	if err != nil || len(info.ServiceKeys) != 2 || !bytes.Equal(info.ServiceKey, after.ServiceKey[:]) || !bytes.Equal(info.ServiceKeys[1].PublicKey, before.ServiceKey[:]) {
		t.Errorf("%v, %v", info, err)
	}
	if err := before.Verify([32]byte(info.ServiceKeys[1].PublicKey)); err != nil {
		t.Error(err)
	}
}

// A key that is replaced in one server is taken up by another that shares its file, and
// one that is put into the file by hand by both, without a restart.
func TestServiceKeyOfSeveralServers(t *testing.T) {
	ctx := t.Context()
	secret := "a secret of tests"
	n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storetest.Stop(t, n) })
	file := filepath.Join(t.TempDir(), "service.key")
	var servers []*service
	for range 2 {
		s, _ := start(t, func(o *Options) {
			o.ServiceKey = file
			o.Store = func(ctx context.Context) (*store.Node, error) {
				return store.Connect(ctx, store.ConnectOptions{URLs: []string{"nats://" + n.Address()}, Secret: secret})
			}
		})
		servers = append(servers, s)
	}
	// taken waits until all servers sign with a key and list as many.
	taken := func(key []byte, listed int) {
		t.Helper()
		for _, s := range servers {
			for {
				info, err := s.CoprocessorClient.GetInfo(ctx, &tacitv1.GetInfoRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(info.ServiceKey, key) {
					continue
				}
				if len(info.ServiceKeys) != listed || info.ServiceKeys[0].RetireTime != nil || info.ServiceKeys[1].RetireTime == nil {
					t.Errorf("%v", info.ServiceKeys)
				}
				break
			}
		}
	}
	resp, err := servers[0].CoprocessorClient.RotateServiceKey(ctx, &tacitv1.RotateServiceKeyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	taken(resp.Keys[0].PublicKey, 2)
	key, err := receipt.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := receipt.ReplaceKey(file, key); err != nil {
		t.Fatal(err)
	}
	public := receipt.PublicKey(key)
	taken(public[:], 3)
	// What cannot be read changes nothing.
	if err := os.WriteFile(file, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if got := receipt.PublicKey(s.signer.file.Now()); got != public {
			t.Errorf("signs with %x", got)
		}
	}
	h := servers[0].prepare(integer.Plain(integer.Uint8, 1))
	job := servers[0].run("a", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 1)\noutput b"))
	if !bytes.Equal(job.Receipt.GetServiceKey(), public[:]) {
		t.Errorf("signed with %x", job.Receipt.GetServiceKey())
	}
}

// TestMigrationSurvivesKill kills a server again and again while it moves ciphertexts:
// in the end all are moved, to the digests that a server without accidents has.
func TestMigrationSurvivesKill(t *testing.T) {
	const count = 80
	var values []integer.Scalar
	for i := range uint64(count) {
		values = append(values, integer.Plain(integer.Uint8, i))
	}
	survivesKill(t, migrationKey(t, testKeys(), otherKeys()), func(s *service) (handles [][]byte) {
		for _, h := range s.prepare(values...) {
			raw, _ := hex.DecodeString(h)
			handles = append(handles, raw)
		}
		if _, err := s.sendKey(t.Context(), upload{content: otherKey(t)}); err != nil {
			t.Fatal(err)
		}
		return handles
	})
}

// survivesKill moves, with a migration key, the ciphertexts that fill has uploaded with both
// evaluation keys: without accidents, and in a server that is killed.
func survivesKill(t *testing.T, migrationKey []byte, fill func(*service) (handles [][]byte)) {
	t.Helper()
	// filled makes a data directory.
	filled := func() (dir string, handles [][]byte, s *service, stop func()) {
		dir = t.TempDir()
		s, stop = start(t, func(o *Options) { o.Dir = dir })
		return dir, fill(s), s, stop
	}
	digests := func(s *service, handles [][]byte) (list []string) {
		for _, h := range handles {
			list = append(list, hex.EncodeToString(s.stat(h).Digest))
		}
		return list
	}
	ctx, begin := t.Context(), &tacitv1.StartMigrationRequest{MigrationKey: migrationKey}
	_, handles, s, stop := filled()
	m, err := s.CoprocessorClient.StartMigration(ctx, begin)
	if err != nil {
		t.Fatal(err)
	}
	s.waitMigration(m)
	want := digests(s, handles)
	stop()

	dir, handles, _, stop := filled()
	stop()
	p := &process{t: t, dir: dir}
	p.start()
	client := p.dial()
	if _, err := client.StartMigration(ctx, begin); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	kills := 0
	for deadline := time.Now().Add(time.Minute); ; {
		m, err := again(func() (*tacitv1.Migration, error) {
			return client.GetMigration(ctx, &tacitv1.GetMigrationRequest{KeyId: m.FromKeyId})
		})
		if err != nil {
			t.Fatal(err)
		}
		if m.State == tacitv1.MigrationState_MIGRATION_STATE_DONE {
			if m.Moved != uint64(len(handles)) || m.Failed != 0 {
				t.Errorf("%v", m)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the migration does not end: %v", m)
		}
		time.Sleep(time.Duration(rng.IntN(int(60 * time.Millisecond))))
		if kills < 10 {
			p.kill()
			kills++
			p.start()
		}
	}
	p.stop()
	s, _ = start(t, func(o *Options) { o.Dir = dir })
	if got := digests(s, handles); !slices.Equal(got, want) {
		t.Errorf("after %d kills other digests: %v, want %v", kills, got, want)
	}
	t.Logf("killed %d times", kills)
}

// TestMigrationFailures: who may use a key is not told of ciphertexts of others that cannot
// be moved.
func TestMigrationFailures(t *testing.T) {
	g := guard(t)
	g.grant(evaluation(g.key()), access.Everyone, tacitv1.Right_RIGHT_COMPUTE)
	g.grant(ciphertext(g.handle(1)), "bob", tacitv1.Right_RIGHT_COMPUTE)
	if _, err := g.ring.Change(t.Context(), [32]byte(g.key()), func(k *keyring.Key) error {
		k.Retired, k.Migration = true, &keyring.Migration{State: keyring.Done, Failed: 2, Failures: []keyring.Failure{
			{Handle: [32]byte(g.handle(0)), Message: "first"}, {Handle: [32]byte(g.handle(1)), Message: "second"},
		}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"alice": "first second", "root": "first second", "bob": "second", "carol": ""} {
		m, err := g.user(name).CoprocessorClient.GetMigration(t.Context(), &tacitv1.GetMigrationRequest{KeyId: g.key()})
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, f := range m.Failures {
			told = append(told, f.Message)
		}
		if got := strings.Join(told, " "); got != want || m.Failed != 2 {
			t.Errorf("%s is told of %q, and of %d, want %q", name, got, m.Failed, want)
		}
	}
}
