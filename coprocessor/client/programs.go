package client

import (
	"context"
	"fmt"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// UploadProgram stores a program.
func (c *Client) UploadProgram(ctx context.Context, p *tacitv1.Program) (*tacitv1.ProgramInfo, error) {
	return retry(ctx, c, func() (*tacitv1.ProgramInfo, error) {
		return c.service.UploadProgram(ctx, &tacitv1.UploadProgramRequest{Program: p})
	})
}

// Program returns a stored program, checked against its digest.
func (c *Client) Program(ctx context.Context, digest [32]byte) (*tacitv1.Program, error) {
	p, err := retry(ctx, c, func() (*tacitv1.Program, error) {
		return c.service.GetProgram(ctx, &tacitv1.GetProgramRequest{Digest: digest[:]})
	})
	if err != nil {
		return nil, err
	}
	if got, err := graph.ProgramDigest(p); err != nil || got != digest {
		return nil, &MismatchError{fmt.Sprintf("program %x", digest), fmt.Sprintf("the service sent %x", got)}
	}
	return p, nil
}

// Programs calls visit for the programs that we have rights on, in the order of their
// digests, until it returns false.
func (c *Client) Programs(ctx context.Context, visit func(*tacitv1.ProgramInfo) bool) error {
	for token := ""; ; {
		resp, err := retry(ctx, c, func() (*tacitv1.ListProgramsResponse, error) {
			return c.service.ListPrograms(ctx, &tacitv1.ListProgramsRequest{PageToken: token})
		})
		if err != nil {
			return err
		}
		for _, p := range resp.Programs {
			if !visit(p) {
				return nil
			}
		}
		if token = resp.NextPageToken; token == "" {
			return nil
		}
	}
}

// Call queues a call of a stored program. The same id with the same call is the same job.
func (c *Client) Call(ctx context.Context, id string, call *tacitv1.ProgramCall) (*tacitv1.Job, error) {
	return retry(ctx, c, func() (*tacitv1.Job, error) {
		return c.service.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: id, Program: call})
	})
}

// ProgramResource is what rights are about: a program.
func ProgramResource(digest [32]byte) *tacitv1.Resource {
	return &tacitv1.Resource{Id: &tacitv1.Resource_Program{Program: digest[:]}}
}
