package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	headsFile = "heads.json"
	// headsInterval is how often the newest revisions are written down. What is written and cut
	// off within one of them is not missed.
	headsInterval = time.Second
)

// TruncatedError reports that the newest changes of a bucket are gone: its files were
// cut off, or put back, while no server ran.
type TruncatedError struct {
	Bucket  string    `json:"bucket"`
	Missing uint64    `json:"missing"` // changes of any keys, or fewer
	Found   time.Time `json:"found"`
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("store: the newest changes of %s are gone, up to %d: its files were cut off", e.Bucket, e.Missing)
}

// heads keeps the newest revision of every bucket of a server that stands alone in a
// file beside JetStream's. A record that is damaged is still in JetStream's index; of
// those at the end of a file that is cut off nothing tells but this.
type heads struct {
	path string
	srv  *server.Server
	js   jetstream.JetStream
	log  *slog.Logger

	mu        sync.Mutex        // of what follows
	states    map[string]state  // of the buckets when Last was read
	Last      map[string]uint64 `json:"last"` // of buckets that held something
	Truncated []*TruncatedError `json:"truncated,omitempty"`

	stop, stopped chan struct{}
}

// state is what changes of a bucket with each of its messages.
type state struct{ last, messages uint64 }

// openHeads compares the buckets with what was written down of them, and begins to write
// them down again.
func openHeads(dir string, srv *server.Server, js jetstream.JetStream, log *slog.Logger) (*heads, error) {
	h := &heads{path: filepath.Join(dir, headsFile), srv: srv, js: js, log: log, stop: make(chan struct{}), stopped: make(chan struct{})}
	switch data, err := os.ReadFile(h.path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	default:
		if err := json.Unmarshal(data, h); err != nil {
			log.Warn("whether the end of the store was cut off cannot be told", "file", h.path, "error", err)
			h.Last, h.Truncated = nil, nil
		}
	}
	written := h.Last
	last, err := h.read()
	if err != nil {
		return nil, err
	}
	for bucket, before := range written {
		if now := last[bucket]; now < before {
			h.Truncated = append(h.Truncated, &TruncatedError{bucket, before - now, time.Now().UTC().Truncate(time.Second)})
		}
	}
	for _, e := range h.Truncated {
		log.Error(e.Error(), "bucket", e.Bucket, "missing", e.Missing, "found", e.Found)
	}
	if err := h.write(last); err != nil {
		return nil, err
	}
	go h.run()
	return h, nil
}

// read asks the server for the newest revisions of the buckets that hold something and
// keep it. Those that are gone are counted by JetStream all the same, as deleted ones.
func (h *heads) read() (map[string]uint64, error) {
	info, err := h.srv.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Config: true})
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	last := make(map[string]uint64)
	states := make(map[string]state)
	for _, a := range info.AccountDetails {
		for _, s := range a.Streams {
			bucket, ok := strings.CutPrefix(s.Name, streamOf(""))
			if !ok || s.State.Msgs == 0 || s.Config.MaxAge > 0 {
				continue
			}
			states[bucket] = state{s.State.LastSeq, s.State.Msgs}
			if states[bucket] == h.states[bucket] {
				last[bucket] = h.Last[bucket]
				continue
			}
			stream, err := h.js.Stream(context.Background(), s.Name)
			if err == nil {
				var m *jetstream.RawStreamMsg
				if m, err = stream.GetLastMsgForSubject(context.Background(), subjectsOf(bucket)+jetstream.AllKeys); err == nil {
					last[bucket] = m.Sequence
				}
			}
			if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, fmt.Errorf("store: %w", err)
			}
		}
	}
	h.states = states
	return last, nil
}

// write writes the file anew, whole or not at all.
func (h *heads) write(last map[string]uint64) error {
	h.Last = last
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	next := h.path + ".next"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(next, h.path)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

func (h *heads) run() {
	defer close(h.stopped)
	tick := time.NewTicker(headsInterval)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		err := h.note()
		if err != nil && !failed {
			h.log.Error("the newest revisions cannot be written down", "error", err)
		}
		failed = err != nil
	}
}

// note writes down what is new.
func (h *heads) note() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	last, err := h.read()
	if err != nil {
		return err
	}
	for bucket, now := range last {
		if h.Last[bucket] != now {
			return h.write(last)
		}
	}
	return nil
}

// close writes down the end, of a server that still runs.
func (h *heads) close() error {
	close(h.stop)
	<-h.stopped
	return h.note()
}

// Truncated lists what was found to be gone from the ends of buckets, now or at earlier
// starts, until AcceptTruncated. Only servers that stand alone look for it.
func (n *Node) Truncated() []*TruncatedError {
	if n.heads == nil {
		return nil
	}
	n.heads.mu.Lock()
	defer n.heads.mu.Unlock()
	return slices.Clone(n.heads.Truncated)
}

// AcceptTruncated forgets what was found to be gone.
func (n *Node) AcceptTruncated() error {
	if n.heads == nil {
		return nil
	}
	n.heads.mu.Lock()
	defer n.heads.mu.Unlock()
	n.heads.Truncated = nil
	return n.heads.write(n.heads.Last)
}
