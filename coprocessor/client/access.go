package client

import (
	"context"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Handle is a ciphertext as something to have rights on.
func Handle(h [32]byte) *tacitv1.Resource {
	return &tacitv1.Resource{Id: &tacitv1.Resource_Handle{Handle: h[:]}}
}

// Key is an evaluation key as something to have rights on.
func Key(id [32]byte) *tacitv1.Resource {
	return &tacitv1.Resource{Id: &tacitv1.Resource_KeyId{KeyId: id[:]}}
}

// Grant gives a principal, or everyone, rights and returns who then has which.
func (c *Client) Grant(ctx context.Context, r *tacitv1.Resource, principal string, rights ...tacitv1.Right) (*tacitv1.Access, error) {
	return retry(ctx, c, func() (*tacitv1.Access, error) {
		return c.service.Grant(ctx, &tacitv1.GrantRequest{Resource: r, Grant: &tacitv1.PrincipalRights{Principal: principal, Rights: rights}})
	})
}

// Revoke takes rights back and returns who then has which.
func (c *Client) Revoke(ctx context.Context, r *tacitv1.Resource, principal string, rights ...tacitv1.Right) (*tacitv1.Access, error) {
	return retry(ctx, c, func() (*tacitv1.Access, error) {
		return c.service.Revoke(ctx, &tacitv1.RevokeRequest{Resource: r, Grant: &tacitv1.PrincipalRights{Principal: principal, Rights: rights}})
	})
}

// Access returns who has which rights.
func (c *Client) Access(ctx context.Context, r *tacitv1.Resource) (*tacitv1.Access, error) {
	return retry(ctx, c, func() (*tacitv1.Access, error) {
		return c.service.GetAccess(ctx, &tacitv1.GetAccessRequest{Resource: r})
	})
}
