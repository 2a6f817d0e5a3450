package access

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Rights is a set of things that may be done with an object.
type Rights uint8

// The rights.
const (
	Read    Rights = 1 << iota // fetch and describe it
	Compute                    // use it in jobs; upload under a key
	Grant                      // see who has rights, give and take them

	All = Read | Compute | Grant
)

var rightNames = []struct {
	right Rights
	name  string
}{{Read, "read"}, {Compute, "compute"}, {Grant, "grant"}}

// String is the names of the rights, with commas.
func (r Rights) String() string {
	var names []string
	for _, n := range rightNames {
		if r&n.right != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRights is the inverse of String.
func ParseRights(text string) (Rights, error) {
	var r Rights
	for name := range strings.SplitSeq(text, ",") {
		found := Rights(0)
		for _, n := range rightNames {
			if n.name == name {
				found = n.right
			}
		}
		if found == 0 {
			return 0, fmt.Errorf("access: no right is named %.40q: there are read, compute and grant", name)
		}
		r |= found
	}
	return r, nil
}

// Object is what rights are about.
type Object struct {
	kind string // of the key in the bucket
	ID   [32]byte
}

// Ciphertext is the object with a handle.
func Ciphertext(handle [32]byte) Object { return Object{"ciphertext", handle} }

// EvaluationKey is the object with a key id.
func EvaluationKey(id [32]byte) Object { return Object{"key", id} }

// Program is the object with the digest of a program.
func Program(digest [32]byte) Object { return Object{"program", digest} }

// IsProgram reports whether the object is a program.
func (o Object) IsProgram() bool { return o.kind == "program" }

// IsKey reports whether the object is an evaluation key.
func (o Object) IsKey() bool { return o.kind == "key" }

func (o Object) String() string { return o.kind + "/" + hex.EncodeToString(o.ID[:]) }

// List says who has rights on an object.
type List struct {
	Owners []string          // in the order in which they became owners; they have all rights
	Grants map[string]Rights // of others, by name; Everyone is one of them
}

// rights returns what a principal may do. Nobody, who has no name, may do nothing.
func (l List) rights(p Principal) Rights {
	switch {
	case p.Name == "":
		return 0
	case p.Has(Admin) || slices.Contains(l.Owners, p.Name):
		return All
	}
	return l.Grants[p.Name] | l.Grants[Everyone]
}

// maxEntries bounds the owners and the grants of one list.
const maxEntries = 1024

// DeniedError reports a principal that lacks a right.
type DeniedError struct {
	Principal string
	Object    Object
	Need      Rights
	Have      Rights // 0 of who must not learn whether the object exists
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("access: %s may not %s %s", e.Principal, e.Need, e.Object)
}

// FullError reports a list that has as many entries as it can.
type FullError struct {
	Object Object
}

func (e *FullError) Error() string {
	return fmt.Sprintf("access: %s: %d principals have rights, more cannot", e.Object, maxEntries)
}

// Lists keeps the list of every object, in the bucket "access". An object
// without a list belongs to administrators alone. Lists is safe for concurrent
// use, also by several processes.
type Lists struct {
	bucket *store.Bucket
}

// OpenLists opens the lists in js, creating them when they are absent.
func OpenLists(ctx context.Context, js jetstream.JetStream) (*Lists, error) {
	b, err := store.OpenBucket(ctx, js, "access", 1)
	if err != nil {
		return nil, err
	}
	return &Lists{b}, nil
}

// record is a list as it is stored.
type record struct {
	Version int               `json:"version"`
	Owners  []string          `json:"owners"`
	Grants  map[string]string `json:"grants,omitempty"`
}

const recordVersion = 1

// read returns the list of an object, empty for one without, and its revision.
// A list that cannot be read is a *store.DataLossError.
func (s *Lists) read(ctx context.Context, o Object) (List, uint64, error) {
	e, err := s.bucket.Get(ctx, o.String())
	if err != nil || e == nil {
		return List{}, 0, err
	}
	l, err := decodeList(e.Value())
	if err != nil {
		return List{}, 0, &store.DataLossError{Bucket: "access", Key: o.String(), Detail: err.Error()}
	}
	return l, e.Revision(), nil
}

func decodeList(data []byte) (List, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return List{}, err
	}
	if r.Version != recordVersion {
		return List{}, fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	}
	l := List{Owners: r.Owners, Grants: make(map[string]Rights, len(r.Grants))}
	for name, text := range r.Grants {
		rights, err := ParseRights(text)
		if err != nil {
			return List{}, err
		}
		l.Grants[name] = rights
	}
	return l, nil
}

// change replaces the list of an object by what edit makes of it, or leaves it
// where edit says that nothing changes.
func (s *Lists) change(ctx context.Context, o Object, edit func(*List) (changed bool, err error)) (List, error) {
	for {
		l, rev, err := s.read(ctx, o)
		if err != nil {
			return List{}, err
		}
		changed, err := edit(&l)
		if err != nil || !changed {
			return l, err
		}
		if len(l.Owners)+len(l.Grants) > maxEntries {
			return List{}, &FullError{o}
		}
		err = s.write(ctx, o, l, rev)
		if errors.Is(err, errChanged) {
			continue // somebody was faster
		}
		if err != nil {
			return List{}, err
		}
		return l, nil
	}
}

// errChanged reports that a list is not at the revision it was thought at.
var errChanged = errors.New("access: the list has changed")

// write replaces the list of an object at a revision, 0 where there is none, or gives
// errChanged.
func (s *Lists) write(ctx context.Context, o Object, l List, rev uint64) error {
	r := record{Version: recordVersion, Owners: l.Owners, Grants: make(map[string]string, len(l.Grants))}
	for name, rights := range l.Grants {
		r.Grants[name] = rights.String()
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if rev == 0 {
		_, err = s.bucket.KV.Create(ctx, o.String(), data)
	} else {
		_, err = s.bucket.KV.Update(ctx, o.String(), data, rev)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return errChanged
	}
	if err != nil {
		return fmt.Errorf("access: writing %s: %w", o, err)
	}
	return nil
}

// Own makes a principal an owner of an object. It is for whoever has shown to
// have the object: its uploader, after the upload, or the submitter of the job
// that computed it. Objects of Local need no list.
func (s *Lists) Own(ctx context.Context, name string, o Object) error {
	if name == localName {
		return nil
	}
	// Most objects are new, and have no list that could be read.
	err := s.write(ctx, o, List{Owners: []string{name}}, 0)
	if !errors.Is(err, errChanged) {
		return err
	}
	_, err = s.change(ctx, o, func(l *List) (bool, error) {
		if slices.Contains(l.Owners, name) {
			return false, nil
		}
		l.Owners = append(l.Owners, name)
		delete(l.Grants, name)
		return true, nil
	})
	return err
}

// Owns reports whether a principal is an owner of an object. Local owns all.
func (s *Lists) Owns(ctx context.Context, name string, o Object) (bool, error) {
	if name == localName {
		return true, nil
	}
	l, _, err := s.read(ctx, o)
	return slices.Contains(l.Owners, name), err
}

// Rights returns what a principal may do with an object.
func (s *Lists) Rights(ctx context.Context, p Principal, o Object) (Rights, error) {
	if p.Has(Admin) {
		return List{}.rights(p), nil // without a look at the store
	}
	l, _, err := s.read(ctx, o)
	return l.rights(p), err
}

// Check returns a *DeniedError unless a principal has the rights that it needs.
func (s *Lists) Check(ctx context.Context, p Principal, o Object, need Rights) error {
	have, err := s.Rights(ctx, p, o)
	if err == nil && have&need != need {
		err = &DeniedError{p.Name, o, need, have}
	}
	return err
}

// List returns who has rights on an object, to whom may know: a principal with
// the right Grant. Others get a *DeniedError.
func (s *Lists) List(ctx context.Context, p Principal, o Object) (List, error) {
	if err := s.Check(ctx, p, o, Grant); err != nil {
		return List{}, err
	}
	l, _, err := s.read(ctx, o)
	return l, err
}

// Grant gives rights to a principal, or to Everyone, by the hand of one that has
// the right Grant and the rights it gives; else the error is a *DeniedError. To an
// owner it changes nothing.
func (s *Lists) Grant(ctx context.Context, by Principal, o Object, to string, r Rights) (List, error) {
	return s.grantOrRevoke(ctx, by, o, to, r, func(l *List) bool {
		if slices.Contains(l.Owners, to) || l.Grants[to]&r == r {
			return false
		}
		if l.Grants == nil {
			l.Grants = make(map[string]Rights)
		}
		l.Grants[to] |= r
		return true
	})
}

// Revoke takes rights back, by the hand of one who could grant them. Owners
// keep theirs.
func (s *Lists) Revoke(ctx context.Context, by Principal, o Object, from string, r Rights) (List, error) {
	return s.grantOrRevoke(ctx, by, o, from, r, func(l *List) bool {
		if l.Grants[from]&r == 0 {
			return false
		}
		if l.Grants[from] &^= r; l.Grants[from] == 0 {
			delete(l.Grants, from)
		}
		return true
	})
}

// grantOrRevoke checks, at each try, that what is edited may be edited.
func (s *Lists) grantOrRevoke(ctx context.Context, by Principal, o Object, name string, r Rights, edit func(*List) bool) (List, error) {
	if name != Everyone {
		if err := CheckName(name); err != nil {
			return List{}, err
		}
	}
	need := Grant | r
	return s.change(ctx, o, func(l *List) (bool, error) {
		if have := l.rights(by); have&need != need {
			return false, &DeniedError{by.Name, o, need, have}
		}
		return edit(l), nil
	})
}

// Names returns the names in grants, sorted.
func (l List) Names() []string { return slices.Sorted(maps.Keys(l.Grants)) }

// Unlisted returns those of ciphertexts that have no list; where none has one, nobody
// needs any, and it returns none.
func (s *Lists) Unlisted(ctx context.Context, handles [][32]byte) ([][32]byte, error) {
	keys, err := s.bucket.Keys(ctx)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	listed := make(map[string]bool, len(keys))
	for _, key := range keys {
		listed[key] = true
	}
	return slices.DeleteFunc(slices.Clone(handles), func(h [32]byte) bool { return listed[Ciphertext(h).String()] }), nil
}

// CollectCiphertexts removes the lists of ciphertexts that do not exist any more, so that
// nobody has rights on what is stored under their handles later, and returns how many
// there were. With dry it removes none. It may run at any time, in several processes too.
func (s *Lists) CollectCiphertexts(ctx context.Context, exists func(ctx context.Context, handle [32]byte) (bool, error), dry bool) (int, error) {
	keys, err := s.bucket.Keys(ctx)
	if err != nil {
		return 0, err
	}
	prefix := Ciphertext([32]byte{}).kind + "/"
	removed := 0
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, prefix)
		handle, err := hex.DecodeString(name)
		if !ok || err != nil || len(handle) != 32 {
			continue
		}
		entry, err := s.bucket.Get(ctx, key)
		if err != nil && !errors.As(err, new(*store.DataLossError)) {
			return removed, err
		}
		if entry == nil {
			continue // removed meanwhile, or damaged: whoever has rights then cannot be told
		}
		if there, err := exists(ctx, [32]byte(handle)); err != nil || there {
			if err != nil {
				return removed, err
			}
			continue
		}
		removed++
		if dry {
			continue
		}
		if _, err := s.bucket.Erase(ctx, entry.Revision(), key); err != nil {
			return removed, err
		}
		// Whoever has stored the ciphertext again meanwhile may have found itself in
		// the list.
		if there, err := exists(ctx, [32]byte(handle)); err != nil || there {
			if _, e := s.bucket.KV.Create(context.WithoutCancel(ctx), key, entry.Value()); e != nil && !errors.Is(e, jetstream.ErrKeyExists) {
				err = errors.Join(err, fmt.Errorf("access: writing %s again: %w", key, e))
			}
			if err != nil {
				return removed, err
			}
			removed--
		}
	}
	return removed, nil
}
