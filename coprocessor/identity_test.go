package coprocessor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/signature"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// callers is a file of callers with the tokens of its principals: root (admin),
// alice (user, keys), bob (user), carol (keys), dave (none) and eve, whose token
// has expired; contract (user) signs.
type callers struct {
	*access.Callers
	path     string
	tokens   map[string]string
	contract ed25519.PrivateKey
}

func newCallers(t testing.TB) *callers {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callers.json")
	c := &callers{path: path, tokens: make(map[string]string)}
	for name, roles := range map[string][]access.Role{
		"root": {access.Admin}, "alice": {access.User, access.Keys}, "bob": {access.User}, "carol": {access.Keys}, "dave": nil, "eve": {access.Admin},
	} {
		credential := access.Credential{Principal: name, Roles: roles}
		if name == "eve" {
			credential.Expires = time.Now().Add(-time.Minute)
		}
		var err error
		if c.tokens[name], _, err = access.Issue(path, credential); err != nil {
			t.Fatal(err)
		}
	}
	seed := testSeed("contract")
	c.contract = ed25519.NewKeyFromSeed(seed[:])
	if _, err := access.Register(path, access.Credential{
		Principal: "contract", Kind: access.Key, Value: hex.EncodeToString(c.contract.Public().(ed25519.PublicKey)), Roles: []access.Role{access.User},
	}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.Callers, err = access.OpenCallers(path, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return c
}

// authorization says who makes a call of a method with a first message.
type authorization func(method string, first proto.Message) []string

func nobody(string, proto.Message) []string { return nil }

func (c *callers) token(name string) authorization {
	return func(string, proto.Message) []string { return []string{"Bearer " + c.tokens[name]} }
}

func (c *callers) signedAt(t testing.TB, now time.Time) authorization {
	return func(method string, first proto.Message) []string {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		s, err := signature.Sign(c.contract, signature.Call{Audience: "here", Method: method, Digest: sha256.Sum256(data)}, now)
		if err != nil {
			t.Fatal(err)
		}
		return []string{s.String()}
	}
}

// authorized is a connection whose calls say who makes them.
type authorized struct {
	grpc.ClientConnInterface
	who authorization
}

func with(ctx context.Context, words []string) context.Context {
	for _, w := range words {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", w)
	}
	return ctx
}

func (a authorized) Invoke(ctx context.Context, method string, req, resp any, opts ...grpc.CallOption) error {
	return a.ClientConnInterface.Invoke(with(ctx, a.who(method, req.(proto.Message))), method, req, resp, opts...)
}

// NewStream waits for the first message, which a signature covers.
func (a authorized) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return &lateStream{open: func(first proto.Message) (grpc.ClientStream, error) {
		return a.ClientConnInterface.NewStream(with(ctx, a.who(method, first)), desc, method, opts...)
	}}, nil
}

type lateStream struct {
	grpc.ClientStream
	open func(first proto.Message) (grpc.ClientStream, error)
}

func (s *lateStream) SendMsg(m any) (err error) {
	if s.ClientStream == nil {
		if s.ClientStream, err = s.open(m.(proto.Message)); err != nil {
			return err
		}
	}
	return s.ClientStream.SendMsg(m)
}

// as is the service as somebody calls it.
func (s *service) as(who authorization) *service {
	return &service{s.Server, tacitv1.NewCoprocessorClient(authorized{s.conn, who}), s.t, s.conn}
}

// guarded is a service with callers and an audit log. Alice has a key, two
// ciphertexts and a job "done" that has ended.
type guarded struct {
	*service
	*callers
	log     *syncBuffer
	handles []string
	result  []byte
	stop    func()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// take returns the records of the audit log since the last call.
func (b *syncBuffer) take(t *testing.T) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var records []map[string]any
	for d := json.NewDecoder(&b.b); ; {
		var r map[string]any
		if err := d.Decode(&r); err == io.EOF {
			return records
		} else if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
}

func guard(t *testing.T, change ...func(*Options)) *guarded {
	t.Helper()
	c := newCallers(t)
	g := &guarded{callers: c, log: new(syncBuffer)}
	g.service, g.stop = start(t, append(change, func(o *Options) {
		o.Callers, o.Audience, o.Audit = c.Callers, "here", slog.New(slog.NewJSONHandler(g.log, nil))
	})...)
	alice := g.user("alice")
	g.handles = alice.prepare(integer.Plain(integer.Uint8, 5), integer.Plain(integer.Uint8, 7))
	job := alice.run("done", spec(t, g.sum("add(a, b)")))
	if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED || job.Id != "done" {
		t.Fatal(job)
	}
	g.result = job.Results[0].Handle
	return g
}

func (g *guarded) user(name string) *service { return g.as(g.token(name)) }

// sum is a job on alice's ciphertexts.
func (g *guarded) sum(expression string) string {
	return "input a = 0x" + g.handles[0] + "\ninput b = 0x" + g.handles[1] + "\nc = " + expression + "\noutput c"
}

func (g *guarded) handle(i int) []byte {
	h, err := hex.DecodeString(g.handles[i])
	if err != nil {
		g.service.t.Fatal(err)
	}
	return h
}

func (g *guarded) key() []byte {
	id := testKeys().Secret.ID()
	return id[:]
}

// drain receives until a stream ends.
func drain[T any](stream grpc.ServerStreamingClient[T], err error) error {
	for err == nil {
		_, err = stream.Recv()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// grant gives rights as alice.
func (g *guarded) grant(r *tacitv1.Resource, to string, rights ...tacitv1.Right) {
	g.service.t.Helper()
	if _, err := g.user("alice").CoprocessorClient.Grant(g.service.t.Context(), &tacitv1.GrantRequest{
		Resource: r, Grant: &tacitv1.PrincipalRights{Principal: to, Rights: rights},
	}); err != nil {
		g.service.t.Fatal(err)
	}
}

func ciphertext(h []byte) *tacitv1.Resource {
	return &tacitv1.Resource{Id: &tacitv1.Resource_Handle{Handle: h}}
}

func evaluation(id []byte) *tacitv1.Resource {
	return &tacitv1.Resource{Id: &tacitv1.Resource_KeyId{KeyId: id}}
}

var readRight = &tacitv1.PrincipalRights{Principal: "zoe", Rights: []tacitv1.Right{tacitv1.Right_RIGHT_READ}}

// TestMethods calls every method as every kind of principal, on what alice has.
func TestMethods(t *testing.T) {
	g := guard(t)
	other := encryptedUnder(t, testKeys().Secret, "of the table", integer.Plain(integer.Uint8, 1))
	digest := sha256.Sum256(other)
	ctx := t.Context()
	public, err := testKeys().Public.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	nobodys, _, err := fhe.EncryptionKeys(testKeys().Secret.Parameters(), testSeed("nobody's"), backend)
	if err != nil {
		t.Fatal(err)
	}
	migration := migrationKey(t, testKeys(), &fhe.KeySet{Secret: nobodys})
	info, err := g.user("alice").CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: doubling(t, "of-alice")})
	if err != nil {
		t.Fatal(err)
	}
	program := [32]byte(info.Digest)
	var jobID string // how the caller writes alice's job
	fresh := 0       // for jobs of their own
	methodsCalled := map[string]func(*service) error{
		"GetInfo": func(s *service) error {
			_, err := s.CoprocessorClient.GetInfo(ctx, &tacitv1.GetInfoRequest{})
			return err
		},
		"UploadEvaluationKey": func(s *service) error {
			_, err := s.sendKey(ctx, upload{content: otherKey(t)})
			return err
		},
		"ListKeys": func(s *service) error {
			resp, err := s.CoprocessorClient.ListKeys(ctx, &tacitv1.ListKeysRequest{})
			if err == nil && !slices.ContainsFunc(resp.Keys, func(k *tacitv1.EvaluationKeyInfo) bool { return bytes.Equal(k.KeyId, g.key()) }) {
				err = errAbsent
			}
			return err
		},
		"UploadCiphertexts": func(s *service) error {
			stream, err := s.CoprocessorClient.UploadCiphertexts(ctx)
			if err != nil {
				return err
			}
			_, err = sendAll(upload{content: other}, stream,
				&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: &tacitv1.CiphertextsHeader{Size: uint64(len(other)), Sha256: digest[:]}}},
				func(c []byte) *tacitv1.UploadCiphertextsRequest {
					return &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: c}}
				})
			return err
		},
		"StatCiphertexts": func(s *service) error {
			resp, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{g.handle(0)}})
			if err == nil && len(resp.Ciphertexts) == 0 {
				err = errAbsent
			}
			return err
		},
		"FetchCiphertexts": func(s *service) error {
			return drain(s.CoprocessorClient.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{g.handle(0)}}))
		},
		"SubmitJob": func(s *service) error {
			fresh++
			_, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: fmt.Sprint("new-", fresh), Spec: spec(t, g.sum("sub(a, b)"))})
			return err
		},
		"GetJob": func(s *service) error {
			_, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: jobID})
			return err
		},
		"GetJobSpec": func(s *service) error {
			_, err := s.CoprocessorClient.GetJobSpec(ctx, &tacitv1.GetJobSpecRequest{Id: jobID})
			return err
		},
		"WaitJob": func(s *service) error {
			_, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: jobID, Timeout: durationpb.New(time.Second)})
			return err
		},
		"WatchJob": func(s *service) error {
			return drain(s.CoprocessorClient.WatchJob(ctx, &tacitv1.WatchJobRequest{Id: jobID}))
		},
		"CancelJob": func(s *service) error {
			_, err := s.CoprocessorClient.CancelJob(ctx, &tacitv1.CancelJobRequest{Id: jobID})
			return err
		},
		"ListJobs": func(s *service) error {
			resp, err := s.CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{})
			if err == nil && !slices.ContainsFunc(resp.Jobs, func(j *tacitv1.Job) bool { return j.Id == jobID }) {
				err = errAbsent
			}
			return err
		},
		"EstimateJob": func(s *service) error {
			_, err := s.CoprocessorClient.EstimateJob(ctx, &tacitv1.EstimateJobRequest{Spec: spec(t, g.sum("sub(a, b)"))})
			return err
		},
		"WatchJobs": func(s *service) error {
			stream, err := s.CoprocessorClient.WatchJobs(ctx, &tacitv1.WatchJobsRequest{Principal: "alice"})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
		"GetUsage": func(s *service) error {
			_, err := s.CoprocessorClient.GetUsage(ctx, &tacitv1.GetUsageRequest{Principal: "alice"})
			return err
		},
		"Grant": func(s *service) error {
			_, err := s.CoprocessorClient.Grant(ctx, &tacitv1.GrantRequest{Resource: ciphertext(g.handle(1)), Grant: readRight})
			return err
		},
		"Revoke": func(s *service) error {
			_, err := s.CoprocessorClient.Revoke(ctx, &tacitv1.RevokeRequest{Resource: ciphertext(g.handle(1)), Grant: readRight})
			return err
		},
		"GetAccess": func(s *service) error {
			_, err := s.CoprocessorClient.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: evaluation(g.key())})
			return err
		},
		"GetEvaluationKeyUpload": func(s *service) error {
			_, err := s.CoprocessorClient.GetEvaluationKeyUpload(ctx, &tacitv1.GetEvaluationKeyUploadRequest{KeyId: g.key()})
			return err
		},
		"GetKey": func(s *service) error {
			_, err := s.CoprocessorClient.GetKey(ctx, &tacitv1.GetKeyRequest{KeyId: g.key()})
			return err
		},
		"RetireKey": func(s *service) error {
			_, err := s.CoprocessorClient.RetireKey(ctx, &tacitv1.RetireKeyRequest{KeyId: g.key()})
			return err
		},
		"ActivateKey": func(s *service) error {
			_, err := s.CoprocessorClient.ActivateKey(ctx, &tacitv1.ActivateKeyRequest{KeyId: g.key()})
			return err
		},
		"UploadPublicKey": func(s *service) error {
			_, err := s.CoprocessorClient.UploadPublicKey(ctx, &tacitv1.UploadPublicKeyRequest{Container: public})
			return err
		},
		"GetPublicKey": func(s *service) error {
			_, err := s.CoprocessorClient.GetPublicKey(ctx, &tacitv1.GetPublicKeyRequest{KeyId: g.key()})
			return err
		},
		"StartMigration": func(s *service) error { // to a key that nobody has
			_, err := s.CoprocessorClient.StartMigration(ctx, &tacitv1.StartMigrationRequest{MigrationKey: migration})
			return err
		},
		"UploadMigrationKey": func(s *service) error { // the same
			_, err := s.sendMigrationKey(ctx, upload{content: migration})
			return err
		},
		"GetMigration": func(s *service) error {
			_, err := s.CoprocessorClient.GetMigration(ctx, &tacitv1.GetMigrationRequest{KeyId: g.key()})
			return err
		},
		"ConfirmMigration": func(s *service) error {
			_, err := s.CoprocessorClient.ConfirmMigration(ctx, &tacitv1.ConfirmMigrationRequest{KeyId: g.key()})
			return err
		},
		"RotateServiceKey": func(s *service) error {
			_, err := s.CoprocessorClient.RotateServiceKey(ctx, &tacitv1.RotateServiceKeyRequest{})
			return err
		},
		"UploadProgram": func(s *service) error {
			fresh++
			_, err := s.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: doubling(t, fmt.Sprint("p", fresh))})
			return err
		},
		"GetProgram": func(s *service) error {
			_, err := s.CoprocessorClient.GetProgram(ctx, &tacitv1.GetProgramRequest{Digest: program[:]})
			return err
		},
		"ListPrograms": func(s *service) error {
			resp, err := s.CoprocessorClient.ListPrograms(ctx, &tacitv1.ListProgramsRequest{})
			if err == nil && !slices.ContainsFunc(resp.Programs, func(p *tacitv1.ProgramInfo) bool { return bytes.Equal(p.Digest, program[:]) }) {
				err = errAbsent
			}
			return err
		},
	}
	var all []string
	for _, m := range tacitv1.Coprocessor_ServiceDesc.Methods {
		all = append(all, m.MethodName)
	}
	for _, m := range tacitv1.Coprocessor_ServiceDesc.Streams {
		all = append(all, m.StreamName)
	}
	needsUser := []string{"UploadCiphertexts", "StatCiphertexts", "FetchCiphertexts", "SubmitJob", "GetJob", "GetJobSpec", "WaitJob", "WatchJob", "CancelJob", "ListJobs", "UploadProgram", "EstimateJob", "WatchJobs", "GetUsage"}
	needsKeys := []string{"GetEvaluationKeyUpload", "UploadEvaluationKey", "RetireKey", "ActivateKey", "UploadPublicKey", "StartMigration", "UploadMigrationKey", "ConfirmMigration"}
	absent := []string{"StartMigration", "UploadMigrationKey", "GetMigration", "ConfirmMigration"} // also for those who may
	all = slices.DeleteFunc(all, func(m string) bool { return m == "UploadEvaluationKey" })
	all = append(all, "UploadEvaluationKey") // last: whoever may makes itself an owner of another key

	for _, who := range []struct {
		name  string
		as    authorization
		jobID string
		want  func(method string) codes.Code
	}{
		{"nobody", nobody, "done", func(string) codes.Code { return codes.Unauthenticated }},
		{"another token", func(string, proto.Message) []string { return []string{"Bearer tacit_" + strings.Repeat("A", 43)} }, "done",
			func(string) codes.Code { return codes.Unauthenticated }},
		{"another scheme", func(string, proto.Message) []string { return []string{"Basic cm9vdDpyb290"} }, "done",
			func(string) codes.Code { return codes.Unauthenticated }},
		{"no token", func(string, proto.Message) []string { return []string{"Bearer"} }, "done",
			func(string) codes.Code { return codes.Unauthenticated }},
		{"two tokens", func(string, proto.Message) []string {
			return []string{"Bearer " + g.tokens["root"], "Bearer " + g.tokens["alice"]}
		}, "done", func(string) codes.Code { return codes.Unauthenticated }},
		{"expired administrator", g.token("eve"), "done", func(string) codes.Code { return codes.Unauthenticated }},
		{"stale signature", g.signedAt(t, time.Now().Add(-time.Hour)), "done", func(string) codes.Code { return codes.Unauthenticated }},
		{"no role", g.token("dave"), "done", func(m string) codes.Code {
			switch {
			case m == "RotateServiceKey" || slices.Contains(needsKeys, m) || slices.Contains(needsUser, m):
				return codes.PermissionDenied
			case m == "GetInfo":
				return codes.OK
			}
			return codes.NotFound
		}},
		{"keys", g.token("carol"), "done", func(m string) codes.Code {
			switch {
			case m == "RotateServiceKey" || slices.Contains(needsUser, m):
				return codes.PermissionDenied
			case m == "GetInfo" || m == "UploadEvaluationKey" || m == "GetEvaluationKeyUpload":
				return codes.OK
			}
			return codes.NotFound
		}},
		{"another user", g.token("bob"), "done", stranger},
		{"another user, by the full name", g.token("bob"), "alice.done", stranger},
		{"contract", g.signedAt(t, time.Now()), "alice.done", stranger},
		{"owner", g.token("alice"), "done", func(m string) codes.Code {
			switch {
			case m == "RotateServiceKey":
				return codes.PermissionDenied
			case slices.Contains(absent, m):
				return codes.NotFound
			}
			return codes.OK
		}},
		{"administrator", g.token("root"), "alice.done", func(m string) codes.Code {
			if slices.Contains(absent, m) {
				return codes.NotFound
			}
			return codes.OK
		}},
	} {
		for _, m := range all {
			call := methodsCalled[m]
			if _, known := methods["/tacit.v1.Coprocessor/"+m]; !known || call == nil {
				t.Fatalf("%s is not in the table of methods, or not in this test", m)
			}
			jobID = who.jobID
			got := code(call(g.as(who.as)))
			if want := who.want(m); got != want {
				t.Errorf("%s calls %s: %v, want %v", who.name, m, got, want)
			}
		}
		ctx := with(ctx, who.as("/grpc.health.v1.Health/Check", &healthv1.HealthCheckRequest{}))
		if _, err := healthv1.NewHealthClient(g.conn).Check(ctx, &healthv1.HealthCheckRequest{}); err != nil {
			t.Errorf("%s: health: %v", who.name, err)
		}
	}
	reflection, err := reflectionv1.NewServerReflectionClient(g.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reflection.Recv(); code(err) != codes.Unauthenticated {
		t.Errorf("nobody reflects: %v", err)
	}
}

// errAbsent says that something is not listed.
var errAbsent = refuse(codes.NotFound, "ABSENT", "", "not listed")

// stranger is how a user without rights is answered.
func stranger(method string) codes.Code {
	switch method {
	case "GetInfo", "SubmitJob of its own", "UploadProgram":
		return codes.OK
	case "UploadEvaluationKey", "GetEvaluationKeyUpload", "WatchJobs", "GetUsage", "RetireKey", "ActivateKey", "UploadPublicKey", "StartMigration", "UploadMigrationKey", "ConfirmMigration", "RotateServiceKey":
		return codes.PermissionDenied
	}
	return codes.NotFound
}

// TestRightsNeeded gives bob every set of rights, in his name or in everyone's,
// and compares what he can do with it.
func TestRightsNeeded(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	g.grant(evaluation(g.key()), "bob", tacitv1.Right_RIGHT_COMPUTE)
	g.grant(ciphertext(g.handle(1)), "bob", tacitv1.Right_RIGHT_COMPUTE)
	h, n := g.handle(0), 0
	for _, to := range []string{"bob", access.Everyone} {
		for r := access.Rights(0); r <= access.All; r++ {
			var rights []tacitv1.Right
			for right, bit := range rightsOf {
				if r&bit != 0 {
					rights = append(rights, right)
				}
			}
			if r != 0 {
				g.grant(ciphertext(h), to, rights...)
			}
			// Without any right, it does not exist.
			denied := codes.PermissionDenied
			if r == 0 {
				denied = codes.NotFound
			}
			want := func(need access.Rights) codes.Code {
				if r&need == need {
					return codes.OK
				}
				return denied
			}
			check := func(what string, err error, want codes.Code) {
				t.Helper()
				if got := code(err); got != want {
					t.Errorf("with %q for %s: %s: %v, want %v", r, to, what, err, want)
				}
			}
			check("fetch", drain(bob.CoprocessorClient.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{h}})), want(access.Read))
			stat, err := bob.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{h}})
			if err != nil || (len(stat.Ciphertexts) == 1) != (r&access.Read != 0) || len(stat.Ciphertexts)+len(stat.Missing) != 1 {
				t.Errorf("with %q: stat: %v, %v", r, stat, err)
			}
			n++
			_, err = bob.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: fmt.Sprint("r", n), Spec: spec(t, g.sum("and(a, b)"))})
			check("submit", err, want(access.Compute))
			_, err = bob.CoprocessorClient.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: ciphertext(h)})
			check("get access", err, want(access.Grant))
			for right, bit := range rightsOf {
				change := &tacitv1.PrincipalRights{Principal: "zoe", Rights: []tacitv1.Right{right}}
				_, err = bob.CoprocessorClient.Grant(ctx, &tacitv1.GrantRequest{Resource: ciphertext(h), Grant: change})
				check("grant "+bit.String(), err, want(access.Grant|bit))
				_, err = bob.CoprocessorClient.Revoke(ctx, &tacitv1.RevokeRequest{Resource: ciphertext(h), Grant: change})
				check("revoke "+bit.String(), err, want(access.Grant|bit))
			}
			if r == 0 {
				continue
			}
			a, err := alice.CoprocessorClient.Revoke(ctx, &tacitv1.RevokeRequest{Resource: ciphertext(h), Grant: &tacitv1.PrincipalRights{Principal: to, Rights: rights}})
			if err != nil || len(a.Grants) != 0 || !slices.Equal(a.Owners, []string{"alice"}) {
				t.Fatalf("after %q: %v, %v", r, a, err)
			}
		}
	}
}

// TestDeniedIsUnknown compares what bob is told of a handle, a key and a job that
// alice has with what he is told of those nobody has.
func TestDeniedIsUnknown(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	bob := g.user("bob").CoprocessorClient
	none := sha256.Sum256([]byte("none"))
	for name, call := range map[string]func(h []byte) error{
		"fetch": func(h []byte) error {
			return drain(bob.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{h}}))
		},
		"submit": func(h []byte) error {
			_, err := bob.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "x", Spec: spec(t, fmt.Sprintf("input a = 0x%x\nb = neg(a)\noutput b", h))})
			return err
		},
		"grant": func(h []byte) error {
			_, err := bob.Grant(ctx, &tacitv1.GrantRequest{Resource: ciphertext(h), Grant: readRight})
			return err
		},
		"revoke": func(h []byte) error {
			_, err := bob.Revoke(ctx, &tacitv1.RevokeRequest{Resource: ciphertext(h), Grant: readRight})
			return err
		},
		"access": func(h []byte) error {
			_, err := bob.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: ciphertext(h)})
			return err
		},
	} {
		told := func(h []byte) string {
			err := call(h)
			if err == nil {
				t.Errorf("%s: allowed", name)
				return ""
			}
			return strings.ReplaceAll(fmt.Sprint(err, refused(t, err)), hex.EncodeToString(h), "HANDLE")
		}
		if denied, unknown := told(g.handle(0)), told(none[:]); denied != unknown {
			t.Errorf("%s: %q, but of a handle that nobody has %q", name, denied, unknown)
		}
	}
	keyOf := func(id []byte) string {
		s := &tacitv1.JobSpec{KeyId: id, Nodes: []*tacitv1.Node{{
			Op: tacitv1.Op_OP_TRIVIAL_ENCRYPT.Enum(), Type: tacitv1.Type_TYPE_EUINT8.Enum(),
			Inputs: []*tacitv1.Input{{Value: &tacitv1.Input_Scalar{Scalar: []byte{1}}}},
		}}, Outputs: []*tacitv1.Output{{Node: proto.Uint32(0)}}}
		_, err := bob.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "x", Spec: s})
		return strings.ReplaceAll(fmt.Sprint(err, refused(t, err)), hex.EncodeToString(id), "KEY")
	}
	if denied, unknown := keyOf(g.key()), keyOf(none[:]); denied != unknown || !strings.Contains(denied, "UNKNOWN_KEY") {
		t.Errorf("a key: %q, %q", denied, unknown)
	}
	for name, content := range map[string][]byte{"nothing": nil, "no key": []byte("x"), "another key": otherKey(t)} {
		told := func(id []byte) string {
			_, err := g.user("carol").sendKey(ctx, upload{header: id, content: content})
			return strings.ReplaceAll(fmt.Sprint(err, refused(t, err)), hex.EncodeToString(id), "KEY")
		}
		if stored, unknown := told(g.key()), told(none[:]); stored != unknown {
			t.Errorf("an upload of %s: %q, but under the id of no key %q", name, stored, unknown)
		}
	}
	job := func(id string) string {
		_, err := bob.GetJob(ctx, &tacitv1.GetJobRequest{Id: id})
		return strings.ReplaceAll(fmt.Sprint(err, refused(t, err)), id, "JOB")
	}
	if denied, unknown := job("alice.done"), job("alice.none"); denied != unknown || !strings.Contains(denied, "UNKNOWN_JOB") {
		t.Errorf("a job: %q, %q", denied, unknown)
	}
}

// TestOwners: what a job makes is its submitter's, jobs are named per principal,
// and whoever has the same bytes owns them too.
func TestOwners(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	fetch := func(s *service, h []byte) codes.Code {
		return code(drain(s.CoprocessorClient.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{h}})))
	}
	g.grant(evaluation(g.key()), access.Everyone, tacitv1.Right_RIGHT_COMPUTE)
	for i := range 2 {
		g.grant(ciphertext(g.handle(i)), "bob", tacitv1.Right_RIGHT_COMPUTE)
	}
	// The name of alice's job is free for bob.
	job := bob.run("done", spec(t, g.sum("xor(a, b)")))
	if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED || job.Id != "done" {
		t.Fatal(job)
	}
	xor := job.Results[0].Handle
	if fetch(bob, xor) != codes.OK || fetch(alice, xor) != codes.NotFound || fetch(g.user("root"), xor) != codes.OK {
		t.Error("the result is not bob's alone")
	}
	list, err := bob.CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{})
	if err != nil || len(list.Jobs) != 1 || list.Jobs[0].Id != "done" {
		t.Errorf("bob's jobs: %v, %v", list, err)
	}
	list, err = g.user("root").CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{})
	if err != nil || len(list.Jobs) != 2 || list.Jobs[0].Id != "alice.done" || list.Jobs[1].Id != "bob.done" {
		t.Errorf("all jobs: %v, %v", list, err)
	}
	// The same expression has the same result.
	if fetch(bob, g.result) != codes.NotFound {
		t.Error("bob reads what he has not computed")
	}
	if job := bob.run("sum", spec(t, g.sum("add(a, b)"))); !bytes.Equal(job.GetResults()[0].GetHandle(), g.result) || fetch(bob, g.result) != codes.OK || fetch(alice, g.result) != codes.OK {
		t.Error("bob has computed it and cannot read it")
	}
	// A name that is taken makes nobody an owner of what it names.
	taken := spec(t, g.sum("or(a, b)"))
	taken.Outputs[0].Handle = alice.run("secret", spec(t, g.sum("lt(a, b)"))).Results[0].Handle
	job = bob.run("take", taken)
	if job.State != tacitv1.JobState_JOB_STATE_FAILED || job.Error.GetReason() != "RESULT_CONFLICT" || fetch(bob, taken.Outputs[0].Handle) != codes.NotFound {
		t.Errorf("bob takes a name: %v", job)
	}
	// Nobody submits in another's name, the administrator neither.
	for _, name := range []string{"root", "bob"} {
		_, err := g.user(name).CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "alice.x", Spec: spec(t, g.sum("or(a, b)"))})
		if c := code(err); c != codes.InvalidArgument && c != codes.NotFound {
			t.Errorf("%s submits as alice: %v", name, err)
		}
	}
	// The same container is whoever's has it.
	data := encrypted(t, "shared", integer.Plain(integer.Uint8, 9))
	first, err := alice.sendList(ctx, upload{content: data})
	if err != nil || fetch(bob, first.Ciphertexts[0].Handle) != codes.NotFound {
		t.Fatal(err)
	}
	if second, err := bob.sendList(ctx, upload{content: data}); err != nil || !proto.Equal(first, second) || fetch(bob, first.Ciphertexts[0].Handle) != codes.OK {
		t.Errorf("%v, %v", second, err)
	}
	// Knowing the id of a key is not having it.
	carol := g.user("carol")
	id := g.key()
	if _, err := carol.sendKey(ctx, upload{header: id, size: 1 << 20, content: []byte("x")}); refused(t, err).reason != "TRUNCATED" {
		t.Errorf("carol has the id: %v", err)
	}
	if _, err := carol.sendKey(ctx, upload{header: id, content: otherKey(t)}); refused(t, err).reason != "DIGEST_MISMATCH" {
		t.Errorf("carol has the id and something else: %v", err)
	}
	owners := func() []string {
		a, err := alice.CoprocessorClient.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: evaluation(id)})
		if err != nil {
			t.Fatal(err)
		}
		return a.Owners
	}
	if got := owners(); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("owners %v", got)
	}
}

// TestOwnersStay: rights survive a restart, and are administrators' alone where no
// callers are known.
func TestOwnersStay(t *testing.T) {
	dir := t.TempDir()
	g := guard(t, func(o *Options) { o.Dir = dir })
	g.grant(ciphertext(g.result), "bob", tacitv1.Right_RIGHT_READ)
	g.stop()
	again := &guarded{callers: g.callers}
	again.service, again.stop = start(t, func(o *Options) { o.Dir, o.Callers = dir, g.Callers })
	if got := again.user("bob").decrypt(g.result); got != "euint8:12" {
		t.Error(got)
	}
	if err := drain(again.user("bob").CoprocessorClient.FetchCiphertexts(t.Context(), &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{g.handle(0)}})); code(err) != codes.NotFound {
		t.Error(err)
	}
	again.stop()
	local, _ := start(t, func(o *Options) { o.Dir = dir })
	if got := local.decrypt(g.result); got != "euint8:12" {
		t.Error(got)
	}
	if job := local.get("alice.done"); job.Id != "alice.done" {
		t.Error(job)
	}
	info, err := local.CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{})
	if err != nil || info.Principal != "local" || !slices.Equal(info.Roles, []string{"admin"}) {
		t.Errorf("%v, %v", info, err)
	}
}

// TestCertificateSubject: certificates whose subjects differ are of different principals.
func TestCertificateSubject(t *testing.T) {
	commonName, organization := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}
	one := func(id asn1.ObjectIdentifier, value string) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{{Type: id, Value: value}}
	}
	for want, subject := range map[string]pkix.RDNSequence{
		"CN=alice,O=Test":          {one(organization, "Test"), one(commonName, "alice")},
		"O=Test,CN=alice":          {one(commonName, "alice"), one(organization, "Test")},
		"CN=alice,CN=bob,O=Test":   {one(organization, "Test"), one(commonName, "bob"), one(commonName, "alice")},
		"O=Test+CN=alice":          {append(one(commonName, "alice"), one(organization, "Test")...)},
		"CN=alice\\,O=Test":        {one(commonName, "alice,O=Test")},
		"CN=alice\\,O=Test,O=Test": {one(organization, "Test"), one(commonName, "alice,O=Test")},
	} {
		raw, err := asn1.Marshal(subject)
		if err != nil {
			t.Fatal(err)
		}
		ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{RawSubject: raw}}}}}})
		if got, ok := certificate(ctx); !ok || got != want {
			t.Errorf("%q, %v, want %q", got, ok, want)
		}
	}
}

func TestSigned(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	const getJob = tacitv1.Coprocessor_GetJob_FullMethodName
	req := &tacitv1.GetJobRequest{Id: "j"}
	now := g.signedAt(t, time.Now())
	call := func(words []string, req *tacitv1.GetJobRequest) refusal {
		t.Helper()
		_, err := tacitv1.NewCoprocessorClient(g.conn).GetJob(with(ctx, words), req)
		return refused(t, err)
	}
	known := refusal{codes.NotFound, "UNKNOWN_JOB", ""}
	words := now(getJob, req)
	if got := call(words, req); got != known {
		t.Fatal(got)
	}
	bad := func(reason string) refusal { return refusal{codes.Unauthenticated, reason, ""} }
	other := *g.callers
	seed := testSeed("somebody")
	other.contract = ed25519.NewKeyFromSeed(seed[:])
	for _, c := range []struct {
		name  string
		words []string
		req   *tacitv1.GetJobRequest
		want  refusal
	}{
		{"again", words, req, bad("REPEATED_CALL")},
		{"another request", now(getJob, req), &tacitv1.GetJobRequest{Id: "k"}, bad("BAD_CREDENTIALS")},
		{"another method", now(tacitv1.Coprocessor_CancelJob_FullMethodName, req), req, bad("BAD_CREDENTIALS")},
		{"before the start", g.signedAt(t, time.Now().Add(-50*time.Second))(getJob, req), req, bad("STALE_SIGNATURE")},
		{"a little ahead", g.signedAt(t, time.Now().Add(50*time.Second))(getJob, req), req, known},
		{"far ahead", g.signedAt(t, time.Now().Add(70*time.Second))(getJob, req), req, bad("STALE_SIGNATURE")},
		{"a key nobody knows", other.signedAt(t, time.Now())(getJob, req), req, bad("BAD_CREDENTIALS")},
		{"malformed", []string{words[0][:40]}, req, bad("BAD_CREDENTIALS")},
	} {
		if got := call(c.words, c.req); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	// A signed upload says what it uploads.
	contract := g.as(g.signedAt(t, time.Now()))
	if _, err := contract.sendList(ctx, upload{content: encrypted(t, "signed", integer.Plain(integer.Uint8, 1))}); refused(t, err) != (refusal{codes.InvalidArgument, "MISSING_DIGEST", "header.sha256"}) {
		t.Errorf("without a digest: %v", err)
	}
	data := encrypted(t, "signed", integer.Plain(integer.Uint8, 1))
	for _, c := range []struct {
		name   string
		digest []byte
		reason string
	}{{"short", []byte{1}, "BAD_DIGEST"}, {"another", make([]byte, 32), "DIGEST_MISMATCH"}} {
		stream, err := contract.CoprocessorClient.UploadCiphertexts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = sendAll(upload{content: data}, stream,
			&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: &tacitv1.CiphertextsHeader{Size: uint64(len(data)), Sha256: c.digest}}},
			func(c []byte) *tacitv1.UploadCiphertextsRequest {
				return &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: c}}
			})
		if got := refused(t, err); got.reason != c.reason {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Of several servers over one store, one accepts a signed call, once.
func TestSignedCallOfSeveralServers(t *testing.T) {
	secret := "a secret of tests"
	n, err := store.Embedded(t.Context(), store.EmbeddedOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { storetest.Stop(t, n) })
	c := newCallers(t)
	var servers []*service
	for range 3 {
		s, _ := start(t, func(o *Options) {
			o.Callers, o.Audience, o.Role = c.Callers, "here", RoleAPI
			o.Store = func(ctx context.Context) (*store.Node, error) {
				return store.Connect(ctx, store.ConnectOptions{URLs: []string{"nats://" + n.Address()}, Secret: secret})
			}
		})
		servers = append(servers, s)
	}
	req := &tacitv1.GetJobRequest{Id: "j"}
	for range 4 {
		words := c.signedAt(t, time.Now())(tacitv1.Coprocessor_GetJob_FullMethodName, req)
		reasons := make([]string, 2*len(servers))
		var wg sync.WaitGroup
		for i := range reasons {
			wg.Go(func() {
				_, err := servers[i%len(servers)].CoprocessorClient.GetJob(with(t.Context(), words), req)
				reasons[i] = refused(t, err).reason
			})
		}
		wg.Wait()
		slices.Sort(reasons)
		if want := append(slices.Repeat([]string{"REPEATED_CALL"}, len(reasons)-1), "UNKNOWN_JOB"); !slices.Equal(reasons, want) {
			t.Errorf("one call at several servers: %q", reasons)
		}
	}
}

func TestAudit(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	brief := func(r map[string]any) string {
		about := ""
		for _, k := range []string{"job", "object", "to", "rights", "reason"} {
			if v, ok := r[k]; ok {
				about += fmt.Sprintf(" %s=%v", k, v)
			}
		}
		if v, ok := r["without_right"]; ok {
			about += fmt.Sprintf(" without=%v", v)
		}
		method := strings.TrimPrefix(r["method"].(string), "/tacit.v1.Coprocessor/")
		return fmt.Sprintf("%v %v %s%s", r["principal"], r["outcome"], method, about)
	}
	check := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, r := range g.log.take(t) {
			if r["time"] == nil || r["peer"] == nil {
				t.Errorf("%s: %v", what, r)
			}
			got = append(got, brief(r))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("the beginning", "alice allowed UploadEvaluationKey", "alice allowed UploadCiphertexts", "alice allowed SubmitJob job=alice.done")
	object := "ciphertext/" + g.handles[0]
	alice.get("done")
	alice.decrypt(g.handle(0))
	check("reading")
	drain(bob.CoprocessorClient.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{g.handle(0)}}))
	check("fetch", "bob denied FetchCiphertexts reason=UNKNOWN_HANDLE without=["+object+"]")
	bob.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{g.handle(0)}})
	check("stat", "bob denied StatCiphertexts without=["+object+"]")
	bob.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "alice.done"})
	check("job", "bob denied GetJob reason=UNKNOWN_JOB without=[job/alice.done]")
	bob.sendKey(ctx, upload{content: otherKey(t)})
	check("role", "bob denied UploadEvaluationKey reason=ROLE_MISSING")
	g.user("eve").CoprocessorClient.GetInfo(ctx, &tacitv1.GetInfoRequest{})
	check("expired", " denied GetInfo reason=EXPIRED_CREDENTIALS")
	g.grant(ciphertext(g.handle(0)), "bob", tacitv1.Right_RIGHT_READ)
	check("grant", "alice allowed Grant object="+object+" to=bob rights=read")
	alice.cancel("done")
	check("cancel", "alice allowed CancelJob job=alice.done")
	alice.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "bad", Spec: &tacitv1.JobSpec{}})
	check("a bad job", "alice failed SubmitJob reason=BAD_KEY_ID")
	bob.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "s", Spec: spec(t, g.sum("add(a, b)"))})
	check("submit", "bob denied SubmitJob reason=RIGHT_MISSING without=["+object+"]")
}

func TestAccessRefuses(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice := g.user("alice").CoprocessorClient
	good := func() *tacitv1.GrantRequest {
		return &tacitv1.GrantRequest{Resource: ciphertext(g.handle(0)), Grant: proto.CloneOf(readRight)}
	}
	for _, c := range []struct {
		name   string
		change func(*tacitv1.GrantRequest)
		want   refusal
	}{
		{"good", func(*tacitv1.GrantRequest) {}, refusal{}},
		{"no resource", func(r *tacitv1.GrantRequest) { r.Resource = nil }, refusal{codes.InvalidArgument, "MISSING_RESOURCE", "resource"}},
		{"short handle", func(r *tacitv1.GrantRequest) { r.Resource = ciphertext([]byte{1}) }, refusal{codes.InvalidArgument, "BAD_HANDLE", "resource.handle"}},
		{"short key id", func(r *tacitv1.GrantRequest) { r.Resource = evaluation(make([]byte, 33)) }, refusal{codes.InvalidArgument, "BAD_KEY_ID", "resource.key_id"}},
		{"no grant", func(r *tacitv1.GrantRequest) { r.Grant = nil }, refusal{codes.InvalidArgument, "MISSING_RIGHT", "grant.rights"}},
		{"no right", func(r *tacitv1.GrantRequest) { r.Grant.Rights = append(r.Grant.Rights, 0) }, refusal{codes.InvalidArgument, "BAD_RIGHT", "grant.rights[1]"}},
		{"unknown right", func(r *tacitv1.GrantRequest) { r.Grant.Rights[0] = 9 }, refusal{codes.InvalidArgument, "BAD_RIGHT", "grant.rights[0]"}},
		{"no principal", func(r *tacitv1.GrantRequest) { r.Grant.Principal = "" }, refusal{codes.InvalidArgument, "BAD_PRINCIPAL", "grant.principal"}},
		{"bad principal", func(r *tacitv1.GrantRequest) { r.Grant.Principal = "a.b" }, refusal{codes.InvalidArgument, "BAD_PRINCIPAL", "grant.principal"}},
	} {
		req := good()
		c.change(req)
		_, err := alice.Grant(ctx, req)
		if got := refused(t, err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		_, err = alice.Revoke(ctx, &tacitv1.RevokeRequest{Resource: req.Resource, Grant: req.Grant})
		if got := refused(t, err); got != c.want {
			t.Errorf("%s, revoked: %v, want %v", c.name, got, c.want)
		}
	}
	// What is no name takes no room in the audit log.
	g.log.take(t)
	long := good()
	long.Grant.Principal = strings.Repeat("x\n", 1<<18)
	if _, err := alice.Grant(ctx, long); refused(t, err).reason != "BAD_PRINCIPAL" {
		t.Error(err)
	}
	if line := g.log.String(); strings.Count(line, "\n") != 1 || len(line) > 4*maxNoted {
		t.Errorf("%d bytes of audit log, %d lines", len(line), strings.Count(line, "\n"))
	}
	// Nothing is granted on what is not there, by administrators neither.
	root := g.user("root").CoprocessorClient
	for _, r := range []*tacitv1.Resource{ciphertext(make([]byte, 32)), evaluation(make([]byte, 32))} {
		if _, err := root.Grant(ctx, &tacitv1.GrantRequest{Resource: r, Grant: readRight}); code(err) != codes.NotFound {
			t.Errorf("%v: %v", r, err)
		}
		if _, err := root.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: r}); code(err) != codes.NotFound {
			t.Errorf("%v: %v", r, err)
		}
	}
	a, err := root.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: evaluation(g.key())})
	if err != nil || !slices.Equal(a.Owners, []string{"alice"}) || len(a.Grants) != 0 {
		t.Errorf("%v, %v", a, err)
	}
}
