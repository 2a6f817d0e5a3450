package coprocessor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Grant gives rights on a ciphertext, a key or a program.
func (s *Server) Grant(ctx context.Context, req *tacitv1.GrantRequest) (*tacitv1.Access, error) {
	return s.changeAccess(ctx, req.Resource, req.Grant, s.lists.Grant)
}

// Revoke takes rights on a ciphertext or a key back.
func (s *Server) Revoke(ctx context.Context, req *tacitv1.RevokeRequest) (*tacitv1.Access, error) {
	return s.changeAccess(ctx, req.Resource, req.Grant, s.lists.Revoke)
}

func (s *Server) changeAccess(ctx context.Context, r *tacitv1.Resource, g *tacitv1.PrincipalRights,
	change func(context.Context, access.Principal, access.Object, string, access.Rights) (access.List, error)) (*tacitv1.Access, error) {
	o, err := parseResource(r)
	if err != nil {
		return nil, err
	}
	rights, err := parseRights(g.GetRights())
	if err != nil {
		return nil, err
	}
	c := callOf(ctx)
	c.note("object", o.String(), "to", g.GetPrincipal(), "rights", rights.String())
	if err := s.exists(ctx, o, access.Grant|rights); err != nil {
		return nil, err
	}
	l, err := change(ctx, c.principal, o, g.GetPrincipal(), rights)
	if err != nil {
		return nil, seen(ctx, err)
	}
	if !o.IsKey() {
		s.queue.Arrived(o.ID) // to those who may compute on it now
	}
	return describeAccess(r, l), nil
}

// GetAccess tells who has rights on a ciphertext or a key.
func (s *Server) GetAccess(ctx context.Context, req *tacitv1.GetAccessRequest) (*tacitv1.Access, error) {
	o, err := parseResource(req.Resource)
	if err != nil {
		return nil, err
	}
	if err := s.exists(ctx, o, access.Grant); err != nil {
		return nil, err
	}
	l, err := s.lists.List(ctx, callOf(ctx).principal, o)
	if err != nil {
		return nil, seen(ctx, err)
	}
	return describeAccess(req.Resource, l), nil
}

// exists returns nil if an object is stored and the caller of ctx has rights on
// it.
func (s *Server) exists(ctx context.Context, o access.Object, need access.Rights) error {
	if err := s.may(ctx, o, need); err != nil {
		return err
	}
	var err error
	switch {
	case o.IsKey():
		_, err = s.keys.Stat(ctx, o.ID)
	case o.IsProgram():
		_, _, err = s.program(ctx, o.ID)
	default:
		_, err = s.ciphertexts.Stat(ctx, o.ID)
	}
	return err
}

func parseResource(r *tacitv1.Resource) (access.Object, error) {
	switch id := r.GetId().(type) {
	case *tacitv1.Resource_Handle:
		if len(id.Handle) != sha256.Size {
			return access.Object{}, refuse(codes.InvalidArgument, "BAD_HANDLE", "resource.handle", "%d bytes, want %d", len(id.Handle), sha256.Size)
		}
		return access.Ciphertext([32]byte(id.Handle)), nil
	case *tacitv1.Resource_KeyId:
		if len(id.KeyId) != sha256.Size {
			return access.Object{}, refuse(codes.InvalidArgument, "BAD_KEY_ID", "resource.key_id", "%d bytes, want %d", len(id.KeyId), sha256.Size)
		}
		return access.EvaluationKey([32]byte(id.KeyId)), nil
	case *tacitv1.Resource_Program:
		if len(id.Program) != sha256.Size {
			return access.Object{}, refuse(codes.InvalidArgument, "BAD_DIGEST", "resource.program", "%d bytes, want %d", len(id.Program), sha256.Size)
		}
		return access.Program([32]byte(id.Program)), nil
	}
	return access.Object{}, refuse(codes.InvalidArgument, "MISSING_RESOURCE", "resource", "neither a handle nor a key id nor a program")
}

// rightsOf relates the rights of the protocol to ours.
var rightsOf = map[tacitv1.Right]access.Rights{
	tacitv1.Right_RIGHT_READ:    access.Read,
	tacitv1.Right_RIGHT_COMPUTE: access.Compute,
	tacitv1.Right_RIGHT_GRANT:   access.Grant,
}

func parseRights(list []tacitv1.Right) (access.Rights, error) {
	var rights access.Rights
	for i, r := range list {
		if rightsOf[r] == 0 {
			return 0, refuse(codes.InvalidArgument, "BAD_RIGHT", fmt.Sprintf("grant.rights[%d]", i), "there is no right %d", r)
		}
		rights |= rightsOf[r]
	}
	if rights == 0 {
		return 0, refuse(codes.InvalidArgument, "MISSING_RIGHT", "grant.rights", "no rights are named")
	}
	return rights, nil
}

func describeAccess(r *tacitv1.Resource, l access.List) *tacitv1.Access {
	out := &tacitv1.Access{Resource: r, Owners: l.Owners}
	for _, name := range l.Names() {
		g := &tacitv1.PrincipalRights{Principal: name}
		for r := tacitv1.Right_RIGHT_READ; r <= tacitv1.Right_RIGHT_GRANT; r++ {
			if l.Grants[name]&rightsOf[r] != 0 {
				g.Rights = append(g.Rights, r)
			}
		}
		out.Grants = append(out.Grants, g)
	}
	return out
}

// keyName names a key for the audit log.
func keyName(id [32]byte) string { return hex.EncodeToString(id[:]) }
