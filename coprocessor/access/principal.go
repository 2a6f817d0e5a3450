// Package access decides who may do what. It knows principals and their roles,
// the credentials that prove who somebody is (callers.go), and for every
// ciphertext and evaluation key the list of those who have rights on it
// (lists.go). What no role and no right allows is denied. How callers reach the
// service, and what they are answered, is not its business.
package access

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what a principal may do at all.
type Role string

// The roles.
const (
	// User uploads ciphertexts and has jobs.
	User Role = "user"
	// Keys uploads evaluation keys.
	Keys Role = "keys"
	// Admin does everything, to everything.
	Admin Role = "admin"
)

// ParseRole reads the name of a role.
func ParseRole(name string) (Role, error) {
	switch r := Role(name); r {
	case User, Keys, Admin:
		return r, nil
	}
	return "", fmt.Errorf("access: no role is named %.40q: there are user, keys and admin", name)
}

// Principal is somebody, as proved by a credential. The zero value is nobody.
type Principal struct {
	Name       string
	Roles      []Role
	Credential string // the id of the credential
}

// Has reports whether the principal has a role. An administrator has all.
func (p Principal) Has(r Role) bool {
	return slices.Contains(p.Roles, r) || slices.Contains(p.Roles, Admin)
}

// Local is whoever connects where no callers are known: an administrator.
var Local = Principal{Name: localName, Roles: []Role{Admin}}

const localName = "local"

// Everyone stands for all principals in grants.
const Everyone = "everyone"

// MaxName bounds the name of a principal in bytes.
const MaxName = 60

// NameError reports a name that no principal can have.
type NameError struct {
	Name string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("access: %.80q is not the name of a principal: want 1 to %d letters, digits, - and _, other than %s and %s",
		e.Name, MaxName, localName, Everyone)
}

// CheckName returns a *NameError for what is no name of a principal.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= MaxName && name != localName && name != Everyone
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return &NameError{name}
	}
	return nil
}

// QualifiedJob is the name that a job of a principal has among the jobs of all:
// principal.id, for Local the id alone. Neither names nor ids have a dot.
func QualifiedJob(principal, id string) string {
	if principal == localName {
		return id
	}
	return principal + "." + id
}

// SplitJob is the inverse of QualifiedJob.
func SplitJob(qualified string) (principal, id string) {
	if principal, id, ok := strings.Cut(qualified, "."); ok {
		return principal, id
	}
	return localName, qualified
}
