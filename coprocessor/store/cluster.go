package store

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// Member makes an embedded server one of several that keep the same data. It
// stores nothing and answers nothing unless more than half of them are there.
type Member struct {
	// Name tells the servers of the cluster apart. It stays with the directory.
	Name string
	// Cluster is the name of the cluster, "tacit" when empty.
	Cluster string
	// Listen is the host and port where the other servers reach this one.
	Listen string
	// Peers are the host and port of the other servers. Those that they know of
	// are found.
	Peers []string
	// TLS encrypts the connections between servers and shows who they are, on
	// both sides. Without it, only loopback addresses are allowed.
	TLS *tls.Config
}

// StandaloneError refuses to make a server with data of its own a member of a
// cluster: the cluster would take its data for left-overs and delete them.
type StandaloneError struct {
	Dir string
}

func (e *StandaloneError) Error() string {
	return fmt.Sprintf("store: %s holds the data of a server that stands alone: a cluster would delete them", e.Dir)
}

// MemberError refuses a directory that belongs to another member, or to a cluster
// where none is asked for.
type MemberError struct {
	Dir, Have, Want string // member@cluster, or empty for a server that stands alone
}

func (e *MemberError) Error() string {
	want := e.Want
	if want == "" {
		want = "a server that stands alone"
	}
	return fmt.Sprintf("store: %s belongs to %s, not to %s", e.Dir, e.Have, want)
}

// PlaintextError refuses connections between servers that other machines reach
// and that are not encrypted.
type PlaintextError struct {
	What, Address string
}

func (e *PlaintextError) Error() string {
	return fmt.Sprintf("store: %s: %s is reached by other machines, and connections are not encrypted", e.What, e.Address)
}

const defaultCluster = "tacit"

// membership is the file in a data directory that says whose it is.
type membership struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	Cluster string `json:"cluster"`
}

const membershipFile = "member.json"

func (m membership) String() string { return m.Node + "@" + m.Cluster }

func parseMembership(data []byte) (m membership, err error) {
	if err := json.Unmarshal(data, &m); err != nil || m.Version != 1 || m.Node == "" {
		return membership{}, errors.New("does not say which member of a cluster the directory belongs to")
	}
	return m, nil
}

// enlist checks that a directory belongs to the member, nil for a server that
// stands alone, and writes down that it does when it is new.
func enlist(dir string, m *Member) error {
	path := filepath.Join(dir, membershipFile)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	var have membership
	if err == nil {
		if have, err = parseMembership(data); err != nil {
			return fmt.Errorf("store: %s %w", path, err)
		}
	}
	if m == nil {
		if have.Node != "" {
			return &MemberError{Dir: dir, Have: have.String()}
		}
		return nil
	}
	want := membership{Version: 1, Node: m.Name, Cluster: m.Cluster}
	switch have {
	case want:
		return nil
	case membership{}:
	default:
		return &MemberError{Dir: dir, Have: have.String(), Want: want.String()}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, dataDir)); err != nil || len(entries) > 0 {
		if err == nil {
			err = &StandaloneError{Dir: dir}
		}
		return err
	}
	data, err = json.Marshal(want)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("store: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// configure makes the options of a server those of a member.
func (m *Member) configure(o *server.Options, secret string) error {
	if m.Name == "" || m.Listen == "" {
		return errors.New("store: a member of a cluster needs a name and an address")
	}
	if secret == "" {
		return errors.New("store: a cluster needs a secret")
	}
	host, port, err := splitAddress(m.Listen)
	if err != nil {
		return err
	}
	if m.TLS == nil {
		for _, a := range append([]string{m.Listen}, m.Peers...) {
			if !isLoopback(a) {
				return &PlaintextError{What: "cluster", Address: a}
			}
		}
	}
	o.ServerName = m.Name
	o.Cluster = server.ClusterOpts{
		Name: m.Cluster, Host: host, Port: port, Username: account, Password: secret,
		TLSConfig: m.TLS, TLSTimeout: 5, AuthTimeout: 5, ConnectBackoff: true,
	}
	for _, p := range m.Peers {
		if _, _, err := splitAddress(p); err != nil {
			return err
		}
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: p, User: url.UserPassword(account, secret)})
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("store: %q is not a host and a port", address)
	}
	return host, port, nil
}

// isLoopback says that an address is reached from this machine alone.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
