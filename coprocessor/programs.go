package coprocessor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// noProgramError reports a program that was never stored.
type noProgramError struct{ digest [32]byte }

func (e *noProgramError) Error() string { return fmt.Sprintf("program %x: not found", e.digest) }

func programName(digest [32]byte) string { return "program/" + hex.EncodeToString(digest[:]) }

// UploadProgram validates and stores a program.
func (s *Server) UploadProgram(ctx context.Context, req *tacitv1.UploadProgramRequest) (*tacitv1.ProgramInfo, error) {
	g, err := s.checkProgram(ctx, req.Program)
	if err != nil {
		return nil, err
	}
	data, err := graph.EncodeProgram(req.Program)
	if err != nil {
		return nil, refuse(codes.InvalidArgument, "MALFORMED", "program", "%v", err)
	}
	digest := sha256.Sum256(data)
	callOf(ctx).note("program", hex.EncodeToString(digest[:]))
	err = s.programs.Change(ctx, programName(digest), func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, nil
		}
		return data, nil
	})
	if err == nil {
		err = s.own(ctx, access.Program(digest))
	}
	if err != nil {
		return nil, err
	}
	_, info, err := s.describeProgram(ctx, digest)
	if err != nil {
		return nil, err
	}
	s.opts.Log.InfoContext(ctx, "program stored", "program", hex.EncodeToString(digest[:]), "name", req.Program.Name, "nodes", g.Len())
	return info, nil
}

func (s *Server) checkProgram(ctx context.Context, p *tacitv1.Program) (*graph.Graph, error) {
	done, err := s.estimating(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return graph.ValidateProgram(ctx, p, newEstimator(s.integers, &tacitv1.JobSpec{Strategy: p.GetStrategy()}).cost, s.opts.Limits)
}

// program reads a stored program, and when it was stored.
func (s *Server) program(ctx context.Context, digest [32]byte) (*tacitv1.Program, time.Time, error) {
	name := programName(digest)
	entry, err := s.programs.Get(ctx, name)
	if err == nil && entry == nil {
		err = &noProgramError{digest}
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	p := new(tacitv1.Program)
	if sha256.Sum256(entry.Value()) != digest || proto.Unmarshal(entry.Value(), p) != nil {
		return nil, time.Time{}, &store.DataLossError{Bucket: "programs", Key: name, Detail: "it has another SHA-256"}
	}
	return p, entry.Created(), nil
}

// describeProgram reads a stored program, validates it again, for the limits of the
// service may have changed, and describes it.
func (s *Server) describeProgram(ctx context.Context, digest [32]byte) (*tacitv1.Program, *tacitv1.ProgramInfo, error) {
	p, created, err := s.program(ctx, digest)
	if err != nil {
		return nil, nil, err
	}
	g, err := s.checkProgram(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	info := &tacitv1.ProgramInfo{Digest: digest[:], Name: p.Name, Parameters: p.Parameters, CreateTime: timestamp(created)}
	for _, o := range g.Outputs() {
		info.Outputs = append(info.Outputs, g.Node(o.Node).Types()[o.Result])
	}
	info.Bootstraps, info.Depth = uint64(g.Cost().Bootstraps), uint32(g.Cost().Depth)
	return p, info, nil
}

// programFor reads a program that the caller of ctx has rights on.
func (s *Server) programFor(ctx context.Context, raw []byte, place string, need access.Rights) (*tacitv1.Program, error) {
	if len(raw) != sha256.Size {
		return nil, refuse(codes.InvalidArgument, "BAD_DIGEST", place, "%d bytes, want %d", len(raw), sha256.Size)
	}
	digest := [32]byte(raw)
	callOf(ctx).note("program", hex.EncodeToString(raw))
	if err := s.may(ctx, access.Program(digest), need); err != nil {
		return nil, faultOf(err).at(place)
	}
	p, _, err := s.program(ctx, digest)
	if err != nil {
		return nil, faultOf(err).at(place)
	}
	return p, nil
}

// GetProgram sends a program.
func (s *Server) GetProgram(ctx context.Context, req *tacitv1.GetProgramRequest) (*tacitv1.Program, error) {
	return s.programFor(ctx, req.Digest, "digest", access.Read)
}

// ListPrograms lists the programs that the caller has rights on. All are validated again:
// those of a page have no more nodes than two programs may have, so that no call costs
// more than that.
func (s *Server) ListPrograms(ctx context.Context, req *tacitv1.ListProgramsRequest) (*tacitv1.ListProgramsResponse, error) {
	names, err := s.programs.Keys(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	size := int(req.PageSize)
	if size == 0 || size > 1000 {
		size = 1000
	}
	resp := new(tacitv1.ListProgramsResponse)
	nodes := 0
	for _, name := range names {
		digest, err := hex.DecodeString(name[min(len(name), len("program/")):])
		if err != nil || len(digest) != sha256.Size {
			return nil, &store.DataLossError{Bucket: "programs", Key: name, Detail: "not the name of a program"}
		}
		if req.PageToken != "" && hex.EncodeToString(digest) <= req.PageToken {
			continue
		}
		rights, err := s.lists.Rights(ctx, callOf(ctx).principal, access.Program([32]byte(digest)))
		if err != nil {
			return nil, err
		}
		if rights == 0 {
			continue
		}
		if n := len(resp.Programs); n == size || nodes >= s.opts.Limits.MaxNodes {
			resp.NextPageToken = hex.EncodeToString(resp.Programs[n-1].Digest)
			break
		}
		p, info, err := s.describeProgram(ctx, [32]byte(digest))
		if err != nil {
			return nil, err
		}
		nodes += len(p.Nodes)
		resp.Programs = append(resp.Programs, info)
	}
	return resp, nil
}

// called returns the spec of a request: its own, or that of the program it calls.
func (s *Server) called(ctx context.Context, spec *tacitv1.JobSpec, call *tacitv1.ProgramCall) (*tacitv1.JobSpec, error) {
	if call == nil {
		return spec, nil
	}
	if spec != nil {
		return nil, refuse(codes.InvalidArgument, "SPEC_AND_PROGRAM", "program", "there is a spec too")
	}
	p, err := s.programFor(ctx, call.Digest, "program.digest", access.Compute)
	if err != nil {
		return nil, err
	}
	return graph.Call(p, call)
}
