package coprocessor

import (
	"encoding/hex"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// doubling is a small program.
func doubling(t testing.TB, name string) *tacitv1.Program {
	t.Helper()
	p, err := graph.ParseProgramText(name, "param x: euint8\nparam k: plain euint8\ny = add(x, x)\nz = add(y, k)\noutput z")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func handleArgument(h []byte) *tacitv1.Argument {
	return &tacitv1.Argument{Value: &tacitv1.Argument_Handle{Handle: h}}
}

func scalarArgument(b ...byte) *tacitv1.Argument {
	return &tacitv1.Argument{Value: &tacitv1.Argument_Scalar{Scalar: b}}
}

// TestPrograms stores a program once and calls it by its digest.
func TestPrograms(t *testing.T) {
	s, _ := start(t)
	ctx, id := t.Context(), testKeys().Secret.ID()
	var handles [][]byte
	for _, h := range s.prepare(integer.Plain(integer.Uint8, 20), integer.Plain(integer.Uint8, 3)) {
		raw, _ := hex.DecodeString(h)
		handles = append(handles, raw)
	}
	p := doubling(t, "double")
	info, err := s.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: p})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := graph.ProgramDigest(p)
	if err != nil || [32]byte(info.Digest) != digest || info.Name != "double" || len(info.Parameters) != 2 || len(info.Outputs) != 1 ||
		info.Outputs[0] != tacitv1.Type_TYPE_EUINT8 || info.Bootstraps == 0 || info.CreateTime == nil {
		t.Errorf("%v, %v", info, err)
	}
	if again, err := s.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: p}); err != nil || again.CreateTime.AsTime() != info.CreateTime.AsTime() {
		t.Errorf("the same again: %v, %v", again, err)
	}
	call := func(h []byte, k byte, result []byte) *tacitv1.SubmitJobRequest {
		c := &tacitv1.ProgramCall{Digest: digest[:], KeyId: id[:], Arguments: []*tacitv1.Argument{handleArgument(h), scalarArgument(k)}}
		if result != nil {
			c.Outputs = [][]byte{result}
		}
		return &tacitv1.SubmitJobRequest{Id: "call", Program: c}
	}
	req := call(handles[0], 2, named("result"))
	job, err := s.CoprocessorClient.SubmitJob(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.CoprocessorClient.SubmitJob(ctx, req); err != nil || again.Id != job.Id {
		t.Errorf("the same call again: %v", err)
	}
	job = s.waitState("call", succeeded)
	if string(job.Results[0].Handle) != string(named("result")) || s.decrypt(named("result")) != "euint8:42" {
		t.Errorf("%v", job.Results)
	}
	_, err = s.CoprocessorClient.SubmitJob(ctx, call(handles[1], 2, nil))
	if code(err) != codes.AlreadyExists {
		t.Errorf("another call under the id: %v", err)
	}
	for what, c := range map[string]struct {
		change func(r *tacitv1.SubmitJobRequest)
		reason string
	}{
		"a spec too":   {func(r *tacitv1.SubmitJobRequest) { r.Spec = new(tacitv1.JobSpec) }, "SPEC_AND_PROGRAM"},
		"no program":   {func(r *tacitv1.SubmitJobRequest) { r.Program.Digest = named("x") }, "UNKNOWN_PROGRAM"},
		"short digest": {func(r *tacitv1.SubmitJobRequest) { r.Program.Digest = nil }, "BAD_DIGEST"},
		"arguments":    {func(r *tacitv1.SubmitJobRequest) { r.Program.Arguments = nil }, "ARGUMENT_COUNT"},
		"range":        {func(r *tacitv1.SubmitJobRequest) { r.Program.Arguments[1] = scalarArgument(1, 0) }, "SCALAR_RANGE"},
		"handle":       {func(r *tacitv1.SubmitJobRequest) { r.Program.Arguments[0] = handleArgument(named("y")) }, "UNKNOWN_HANDLE"},
	} {
		r := call(handles[0], 1, nil)
		c.change(r)
		if _, err := s.CoprocessorClient.SubmitJob(ctx, r); refused(t, err).reason != c.reason {
			t.Errorf("%s: %v, want %s", what, err, c.reason)
		}
	}
	bad := doubling(t, "bad")
	bad.Nodes[0].Inputs[0] = &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: handles[0]}}
	if _, err := s.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: bad}); refused(t, err).reason != "NOT_IN_PROGRAM" {
		t.Errorf("a bad program: %v", err)
	}
	// A parameter is no input of a job.
	sp := spec(t, "input a = 0x"+hex.EncodeToString(handles[0])+"\nb = not(a)\noutput b")
	sp.Nodes[0].Inputs[0] = &tacitv1.Input{Value: &tacitv1.Input_Parameter{}}
	if _, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "p", Spec: sp}); refused(t, err).reason != "MISSING_INPUT" {
		t.Errorf("a parameter in a job: %v", err)
	}
}

// TestProgramRights: only who may compute calls, and only who may read reads.
// TestProgramPages lists programs that have many nodes: a page ends early.
func TestProgramPages(t *testing.T) {
	s, _ := start(t, func(o *Options) { o.Limits = graph.DefaultLimits(); o.Limits.MaxNodes = 3 })
	ctx := t.Context()
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: doubling(t, name)}); err != nil {
			t.Fatal(err)
		}
	}
	var pages []int
	names := make(map[string]bool)
	for req := (&tacitv1.ListProgramsRequest{}); ; {
		resp, err := s.CoprocessorClient.ListPrograms(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range resp.Programs {
			names[info.Name] = true
		}
		pages = append(pages, len(resp.Programs))
		if req.PageToken = resp.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if len(names) != 3 || !slices.Equal(pages, []int{2, 1}) {
		t.Errorf("%v on pages of %v", names, pages)
	}
}

func TestProgramRights(t *testing.T) {
	g := guard(t)
	ctx := t.Context()
	alice, bob := g.user("alice"), g.user("bob")
	info, err := alice.CoprocessorClient.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: doubling(t, "hers")})
	if err != nil {
		t.Fatal(err)
	}
	g.grant(evaluation(g.key()), "bob", tacitv1.Right_RIGHT_COMPUTE)
	g.grant(ciphertext(g.handle(0)), "bob", tacitv1.Right_RIGHT_COMPUTE)
	n := 0
	try := func(want codes.Code, grant tacitv1.Right) {
		t.Helper()
		if grant != 0 {
			g.grant(&tacitv1.Resource{Id: &tacitv1.Resource_Program{Program: info.Digest}}, "bob", grant)
		}
		n++
		_, err := bob.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: string(rune('a' + n)), Program: &tacitv1.ProgramCall{
			Digest: info.Digest, KeyId: g.key(), Arguments: []*tacitv1.Argument{handleArgument(g.handle(0)), scalarArgument(1)},
		}})
		if code(err) != want {
			t.Errorf("a call: %v, want %v", err, want)
		}
	}
	read := func(want codes.Code) {
		t.Helper()
		if _, err := bob.CoprocessorClient.GetProgram(ctx, &tacitv1.GetProgramRequest{Digest: info.Digest}); code(err) != want {
			t.Errorf("reading: %v, want %v", err, want)
		}
	}
	try(codes.NotFound, 0)
	read(codes.NotFound)
	try(codes.PermissionDenied, tacitv1.Right_RIGHT_READ)
	read(codes.OK)
	try(codes.OK, tacitv1.Right_RIGHT_COMPUTE)
	if list, err := bob.CoprocessorClient.ListPrograms(ctx, &tacitv1.ListProgramsRequest{PageSize: 1}); err != nil || len(list.Programs) != 1 || list.NextPageToken != "" {
		t.Errorf("%v, %v", list, err)
	}
}
