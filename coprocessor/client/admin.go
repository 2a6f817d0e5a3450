package client

import (
	"context"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Status tells what a service holds back, and what there is to do. It takes an
// administrator, as all of the following.
func (c *Client) Status(ctx context.Context) (*tacitv1.ServiceStatus, error) {
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.GetStatus(ctx, &tacitv1.GetStatusRequest{}) })
}

// Pause has the service start no jobs any more.
func (c *Client) Pause(ctx context.Context) (*tacitv1.ServiceStatus, error) {
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.Pause(ctx, &tacitv1.PauseRequest{}) })
}

// Resume undoes Pause, and Drain of the process that is called.
func (c *Client) Resume(ctx context.Context) (*tacitv1.ServiceStatus, error) {
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.Resume(ctx, &tacitv1.ResumeRequest{}) })
}

// Drain has the process that is called take no new jobs and start none.
func (c *Client) Drain(ctx context.Context) (*tacitv1.ServiceStatus, error) {
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.Drain(ctx, &tacitv1.DrainRequest{}) })
}

// Quarantine has the service start no jobs of a principal, or of a key, and take no
// new ones.
func (c *Client) Quarantine(ctx context.Context, principal string, key []byte) (*tacitv1.ServiceStatus, error) {
	req := &tacitv1.QuarantineRequest{Subject: &tacitv1.QuarantineRequest_Principal{Principal: principal}}
	if len(key) > 0 {
		req.Subject = &tacitv1.QuarantineRequest_KeyId{KeyId: key}
	}
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.Quarantine(ctx, req) })
}

// Release undoes Quarantine.
func (c *Client) Release(ctx context.Context, principal string, key []byte) (*tacitv1.ServiceStatus, error) {
	req := &tacitv1.ReleaseRequest{Subject: &tacitv1.ReleaseRequest_Principal{Principal: principal}}
	if len(key) > 0 {
		req.Subject = &tacitv1.ReleaseRequest_KeyId{KeyId: key}
	}
	return retry(ctx, c, func() (*tacitv1.ServiceStatus, error) { return c.admin.Release(ctx, req) })
}

// RetryJob has a failed job tried again.
func (c *Client) RetryJob(ctx context.Context, id string) (*tacitv1.Job, error) {
	return retry(ctx, c, func() (*tacitv1.Job, error) { return c.admin.RetryJob(ctx, &tacitv1.RetryJobRequest{Id: id}) })
}

// DiscardJob has a job whose record is damaged not told of any more.
func (c *Client) DiscardJob(ctx context.Context, id string) error {
	_, err := retry(ctx, c, func() (*tacitv1.DiscardJobResponse, error) {
		return c.admin.DiscardJob(ctx, &tacitv1.DiscardJobRequest{Id: id})
	})
	return err
}

// DeadLetters calls visit for the jobs that failed in every attempt, the newest
// first, at most limit, or all when that is 0, until it returns false.
func (c *Client) DeadLetters(ctx context.Context, limit int, visit func(*tacitv1.Job) bool) error {
	return pages(limit, visit, func(size int, token string) (*tacitv1.ListJobsResponse, error) {
		return retry(ctx, c, func() (*tacitv1.ListJobsResponse, error) {
			return c.admin.ListDeadLetters(ctx, &tacitv1.ListDeadLettersRequest{PageSize: uint32(size), PageToken: token})
		})
	})
}

// AllUsage tells what every principal that has jobs uses of its budget.
func (c *Client) AllUsage(ctx context.Context) ([]*tacitv1.Usage, error) {
	resp, err := retry(ctx, c, func() (*tacitv1.ListUsageResponse, error) { return c.admin.ListUsage(ctx, &tacitv1.ListUsageRequest{}) })
	return resp.GetUsage(), err
}
