package coprocessor

import (
	"context"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/signature"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// method says who may call a method, and whether it changes anything.
type method struct {
	role    access.Role // empty: any principal
	open    bool        // nobody has to say who they are
	changes bool
}

// methods has every method that somebody other than an administrator may call, or
// that changes something.
var methods = map[string]method{
	tacitv1.Coprocessor_GetInfo_FullMethodName:                {},
	tacitv1.Coprocessor_UploadEvaluationKey_FullMethodName:    {role: access.Keys, changes: true},
	tacitv1.Coprocessor_ListKeys_FullMethodName:               {},
	tacitv1.Coprocessor_GetKey_FullMethodName:                 {},
	tacitv1.Coprocessor_RetireKey_FullMethodName:              {role: access.Keys, changes: true},
	tacitv1.Coprocessor_ActivateKey_FullMethodName:            {role: access.Keys, changes: true},
	tacitv1.Coprocessor_UploadPublicKey_FullMethodName:        {role: access.Keys, changes: true},
	tacitv1.Coprocessor_GetPublicKey_FullMethodName:           {},
	tacitv1.Coprocessor_StartMigration_FullMethodName:         {role: access.Keys, changes: true},
	tacitv1.Coprocessor_UploadMigrationKey_FullMethodName:     {role: access.Keys, changes: true},
	tacitv1.Coprocessor_GetEvaluationKeyUpload_FullMethodName: {role: access.Keys},
	tacitv1.Coprocessor_GetMigration_FullMethodName:           {},
	tacitv1.Coprocessor_ConfirmMigration_FullMethodName:       {role: access.Keys, changes: true},
	tacitv1.Coprocessor_RotateServiceKey_FullMethodName:       {role: access.Admin, changes: true},
	tacitv1.Coprocessor_UploadProgram_FullMethodName:          {role: access.User, changes: true},
	tacitv1.Coprocessor_GetProgram_FullMethodName:             {},
	tacitv1.Coprocessor_ListPrograms_FullMethodName:           {},
	tacitv1.Coprocessor_UploadCiphertexts_FullMethodName:      {role: access.User, changes: true},
	tacitv1.Coprocessor_StatCiphertexts_FullMethodName:        {role: access.User},
	tacitv1.Coprocessor_FetchCiphertexts_FullMethodName:       {role: access.User},
	tacitv1.Coprocessor_SubmitJob_FullMethodName:              {role: access.User, changes: true},
	tacitv1.Coprocessor_GetJob_FullMethodName:                 {role: access.User},
	tacitv1.Coprocessor_GetJobSpec_FullMethodName:             {role: access.User},
	tacitv1.Coprocessor_WaitJob_FullMethodName:                {role: access.User},
	tacitv1.Coprocessor_WatchJob_FullMethodName:               {role: access.User},
	tacitv1.Coprocessor_CancelJob_FullMethodName:              {role: access.User, changes: true},
	tacitv1.Coprocessor_WatchJobs_FullMethodName:              {role: access.User},
	tacitv1.Coprocessor_ListJobs_FullMethodName:               {role: access.User},
	tacitv1.Coprocessor_EstimateJob_FullMethodName:            {role: access.User},
	tacitv1.Coprocessor_GetUsage_FullMethodName:               {role: access.User},
	tacitv1.Coprocessor_Grant_FullMethodName:                  {changes: true},
	tacitv1.Coprocessor_Revoke_FullMethodName:                 {changes: true},
	tacitv1.Coprocessor_GetAccess_FullMethodName:              {},

	tacitv1.Admin_Pause_FullMethodName:      {role: access.Admin, changes: true},
	tacitv1.Admin_Resume_FullMethodName:     {role: access.Admin, changes: true},
	tacitv1.Admin_Drain_FullMethodName:      {role: access.Admin, changes: true},
	tacitv1.Admin_Quarantine_FullMethodName: {role: access.Admin, changes: true},
	tacitv1.Admin_Release_FullMethodName:    {role: access.Admin, changes: true},
	tacitv1.Admin_RetryJob_FullMethodName:   {role: access.Admin, changes: true},
	tacitv1.Admin_DiscardJob_FullMethodName: {role: access.Admin, changes: true},

	healthv1.Health_Check_FullMethodName: {open: true},
	healthv1.Health_Watch_FullMethodName: {open: true},
	healthv1.Health_List_FullMethodName:  {open: true},

	reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName:      {},
	reflectionv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName: {},
}

// call is what is known of a call: who makes it, and what it is about.
type call struct {
	method    string
	principal access.Principal // nobody until it is proved
	signed    bool             // what is signed is all that is believed
	about     []any            // attributes for the audit log
	denied    []string         // what the principal has no right to
	request   proto.Message    // of a call that is no stream
	ended     func()           // of what is counted
}

type callKey struct{}

// callOf returns the call that a context belongs to. Without one it is nobody's.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return new(call)
}

// maxNoted and maxDenied bound what the audit log says of one call: the bytes of each
// attribute, some of which callers have written, and the objects.
const (
	maxNoted  = 256
	maxDenied = 16
)

// note adds attributes to what the audit log says of a call.
func (c *call) note(attrs ...any) {
	for _, a := range attrs {
		if text, ok := a.(string); ok {
			a = text[:min(len(text), maxNoted)]
		}
		c.about = append(c.about, a)
	}
}

func (c *call) deny(what string) {
	if len(c.denied) < maxDenied {
		c.denied = append(c.denied, what)
	}
}

// identifyUnary lets a call through when its principal may make it, and writes
// the audit log.
func (s *Server) identifyUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	c := &call{method: info.FullMethod, ended: func() {}}
	c.request, _ = req.(proto.Message)
	defer func() { c.ended() }()
	ctx = context.WithValue(ctx, callKey{}, c)
	ended := false
	defer func() { s.audit(ctx, c, ended, err) }()
	proof, err := s.authenticate(ctx, c)
	if err == nil {
		err = s.enter(ctx, c, proof, req)
	}
	if err == nil {
		resp, err = next(ctx, req)
	}
	ended = true
	return resp, err
}

// identifyStream does for streams what identifyUnary does for calls. A signed
// stream is let through with its first message, which the signature covers.
func (s *Server) identifyStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	c := &call{method: info.FullMethod, ended: func() {}}
	defer func() { c.ended() }()
	ctx := context.WithValue(stream.Context(), callKey{}, c)
	ended := false
	defer func() { s.audit(ctx, c, ended, err) }()
	identified := &identifiedStream{ServerStream: stream, ctx: ctx}
	proof, err := s.authenticate(ctx, c)
	switch {
	case err != nil:
	case proof != nil:
		identified.first = func(req any) error { return s.enter(ctx, c, proof, req) }
	default:
		err = s.enter(ctx, c, nil, nil)
	}
	if err == nil {
		err = next(srv, identified)
	}
	ended = true
	return err
}

// identifiedStream is a stream whose context knows the call.
type identifiedStream struct {
	grpc.ServerStream
	ctx   context.Context
	first func(req any) error // what is yet to be done with the first message, or nil
}

func (s *identifiedStream) Context() context.Context { return s.ctx }

func (s *identifiedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		err = tooMany(m)
	}
	if err == nil && s.first != nil {
		if err = s.first(m); err == nil {
			s.first = nil
		}
	}
	return err
}

// unauthenticated refuses a caller that has not shown who it is.
func unauthenticated(reason, format string, args ...any) *fault {
	return refuse(codes.Unauthenticated, reason, "", format, args...)
}

// proof is a signature whose call is yet to be compared with it.
type proof struct {
	signature.Signature
	principal access.Principal
}

// authenticate finds out who makes a call: from its authorization, or else from
// the certificate of its connection. A signature is returned as a proof, which
// admit checks against the request.
func (s *Server) authenticate(ctx context.Context, c *call) (*proof, error) {
	callers := s.opts.Callers
	switch {
	case methods[c.method].open:
		return nil, nil
	case callers == nil:
		c.principal = access.Local
		return nil, nil
	}
	words := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(words) > 1 {
		return nil, unauthenticated("BAD_CREDENTIALS", "more than one authorization")
	}
	if len(words) == 0 {
		subject, ok := certificate(ctx)
		if !ok {
			return nil, unauthenticated("NO_CREDENTIALS", "a token, a client certificate or a signature is needed")
		}
		var err error
		c.principal, err = callers.Certificate(subject)
		return nil, badCredentials(err)
	}
	scheme, rest, _ := strings.Cut(words[0], " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		var err error
		c.principal, err = callers.Token(rest)
		return nil, badCredentials(err)
	case scheme == signature.Scheme:
		sig, err := signature.Parse(words[0])
		if err != nil {
			return nil, unauthenticated("BAD_CREDENTIALS", "%v", err)
		}
		p, err := callers.Key(sig.Key)
		return &proof{sig, p}, badCredentials(err)
	}
	return nil, unauthenticated("BAD_CREDENTIALS", "the authorization is neither Bearer nor %s", signature.Scheme)
}

// certificate returns the subject of the verified certificate of a connection (RFC 2253),
// with all its attributes in their order: pkix.Name has one common name and no order, and
// so one string for different subjects.
func certificate(ctx context.Context) (subject string, ok bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	tls, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 {
		return "", false
	}
	var names pkix.RDNSequence
	rest, err := asn1.Unmarshal(tls.State.VerifiedChains[0][0].RawSubject, &names)
	return names.String(), err == nil && len(rest) == 0
}

// badCredentials is an error of package access as callers see it, or nil.
func badCredentials(err error) error {
	var unknown *access.CredentialError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown) && unknown.Expired:
		return unauthenticated("EXPIRED_CREDENTIALS", "the %s has expired", unknown.Kind)
	case errors.As(err, &unknown):
		return unauthenticated("BAD_CREDENTIALS", "the %s is not known, or a signature is wrong", unknown.Kind)
	}
	return err
}

// admit checks the signature of a call, if it has one, and that its principal has
// the role that the method takes.
func (s *Server) admit(ctx context.Context, c *call, p *proof, req any) error {
	if p != nil {
		if err := s.verify(ctx, c.method, p, req); err != nil {
			return err
		}
		c.principal, c.signed = p.principal, true
	}
	m, known := methods[c.method]
	if !known {
		m.role = access.Admin
	}
	if m.role != "" && !c.principal.Has(m.role) {
		return refuse(codes.PermissionDenied, "ROLE_MISSING", "", "this takes the role %s", m.role)
	}
	return nil
}

// enter is admit for a call that begins. Of access.Local, who is everyone, addresses are
// counted alone.
func (s *Server) enter(ctx context.Context, c *call, p *proof, req any) error {
	if err := s.admit(ctx, c, p, req); err != nil {
		return err
	}
	if name := c.principal.Name; name != "" && name != access.Local.Name {
		end, ok := s.callsOf.begin(name)
		if !ok {
			return tooManyCalls()
		}
		c.ended = end
	}
	return nil
}

func (s *Server) verify(ctx context.Context, method string, p *proof, req any) error {
	message, ok := req.(proto.Message)
	if !ok {
		return unauthenticated("BAD_CREDENTIALS", "the request cannot be signed")
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return unauthenticated("BAD_CREDENTIALS", "the request cannot be encoded: %v", err)
	}
	if !p.Verify(signature.Call{Audience: s.opts.Audience, Method: method, Digest: sha256.Sum256(data)}) {
		return badCredentials(&access.CredentialError{Kind: access.Key})
	}
	// Only who has the key gets here.
	err = s.replay.Check(p.Key, p.Nonce, p.Time, time.Now())
	if err == nil && s.nonces != nil {
		err = s.nonces.Take(ctx, p.Key, p.Nonce)
	}
	var refused *access.ReplayError
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Reason {
	case access.Stale:
		return unauthenticated("STALE_SIGNATURE", "the time of the signature is more than %v from ours, or before our start", access.SignatureWindow)
	case access.Repeated:
		return unauthenticated("REPEATED_CALL", "a call with this nonce was made before")
	}
	return refuse(codes.ResourceExhausted, "TOO_MANY_CALLS", "", "the key signs too many calls")
}

// audit records a call that was denied, or that was to change something.
func (s *Server) audit(ctx context.Context, c *call, ended bool, err error) {
	outcome, reason := "allowed", ""
	switch {
	case !ended:
		outcome, reason = "failed", "PANIC"
	case err != nil:
		f := faultOf(err)
		outcome, reason = "failed", f.reason
		if f.code == codes.Unauthenticated || f.code == codes.PermissionDenied {
			outcome = "denied"
		}
	}
	if len(c.denied) > 0 {
		outcome = "denied"
	}
	if outcome != "denied" && !methods[c.method].changes {
		return
	}
	attrs := []any{"outcome", outcome, "method", c.method, "principal", c.principal.Name, "credential", c.principal.Credential}
	if from, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, "peer", from.Addr.String())
	}
	if reason != "" {
		attrs = append(attrs, "reason", reason)
	}
	attrs = append(attrs, c.about...)
	if len(c.denied) > 0 {
		attrs = append(attrs, "without_right", c.denied)
	}
	s.opts.Audit.Log(context.WithoutCancel(ctx), slog.LevelInfo, "call", attrs...)
}

// may returns nil if the caller of ctx has the rights that it needs on an object.
// To a caller without any right, the object does not exist: the error is the one
// that the store has for it.
func (s *Server) may(ctx context.Context, o access.Object, need access.Rights) error {
	return seen(ctx, s.lists.Check(ctx, callOf(ctx).principal, o, need))
}

// seen is an error of the access lists as the caller of ctx sees it. It notes what
// is denied.
func seen(ctx context.Context, err error) error {
	var denied *access.DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	callOf(ctx).deny(denied.Object.String())
	if denied.Have == 0 {
		return unknown(denied.Object)
	}
	return refuse(codes.PermissionDenied, "RIGHT_MISSING", "", "%s: this takes %s, you may %s", denied.Object, denied.Need, denied.Have)
}

// unknown is the error for an object that does not exist.
func unknown(o access.Object) error {
	switch {
	case o.IsKey():
		return &store.KeyNotFoundError{ID: o.ID}
	case o.IsProgram():
		return &noProgramError{o.ID}
	}
	return &store.NotFoundError{Handle: o.ID}
}

// own makes the caller of ctx an owner of an object that it has shown to have.
func (s *Server) own(ctx context.Context, o access.Object) error {
	return s.lists.Own(ctx, callOf(ctx).principal.Name, o)
}

// maxJobID bounds the id of a job in bytes, without its principal.
const maxJobID = 128

// jobID returns the name that a job has in the queue. Others' jobs are named
// principal.id and exist for administrators only.
func (s *Server) jobID(ctx context.Context, id string) (string, error) {
	c := callOf(ctx)
	owner, own, qualified := strings.Cut(id, ".")
	if !qualified {
		owner, own = c.principal.Name, id
	}
	ok := len(own) >= 1 && len(own) <= maxJobID
	for i := 0; ok && i < len(own); i++ {
		b := own[i]
		ok = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '_' || b == '-'
	}
	if !ok || access.CheckName(owner) != nil && owner != access.Local.Name {
		return "", refuse(codes.InvalidArgument, "BAD_JOB_ID", "id", "%.40q is not a job id: want 1 to %d letters, digits, - and _", id, maxJobID)
	}
	if owner != c.principal.Name && !c.principal.Has(access.Admin) {
		c.deny("job/" + id)
		return "", &jobs.NotFoundError{ID: id}
	}
	name := access.QualifiedJob(owner, own)
	c.note("job", name)
	return name, nil
}

// shownJobID is the id of a job as the caller of ctx writes it.
func shownJobID(ctx context.Context, name string) string {
	owner, id := access.SplitJob(name)
	if owner == callOf(ctx).principal.Name {
		return id
	}
	return owner + "." + id
}
