package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ManifestName is the file that makes a folder that of an adapter.
const ManifestName = "adapter.json"

// maxManifest bounds its size in bytes.
const maxManifest = 1 << 16

// Manifest says how an adapter is started and how it is installed.
type Manifest struct {
	Dir     string   `json:"-"`
	Library string   `json:"library"` // with its version, for people
	Run     []string `json:"run"`     // program and arguments; a relative path with a slash begins in Dir
	Install string   `json:"install"` // command, from the root of the repository
}

// AbsentError says that an adapter, or what it needs, is not installed.
type AbsentError struct {
	Adapter, Reason string
	Install         string // command, empty where none is known
}

func (e *AbsentError) Error() string { return fmt.Sprintf("adapter %s: %s", e.Adapter, e.Reason) }

// Hint says how to install it.
func (e *AbsentError) Hint() string {
	if e.Install == "" {
		return ""
	}
	return "to install it: " + e.Install
}

// Find returns the adapters at a path: a program, the folder of an adapter, or a
// folder of such folders, in the order of their names. The error is of a manifest
// that cannot be read or is wrong, or an *AbsentError where nothing is at the path.
func Find(path string) ([]Manifest, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if program, err := exec.LookPath(path); err == nil {
			return []Manifest{{Run: []string{program}}}, nil
		}
		return nil, &AbsentError{Adapter: path, Reason: "it is not there"}
	}
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		program, err := filepath.Abs(path)
		return []Manifest{{Run: []string{program}}}, err
	}
	if _, err := os.Stat(filepath.Join(path, ManifestName)); err == nil {
		m, err := read(path)
		return []Manifest{m}, err
	}
	files, err := filepath.Glob(filepath.Join(path, "*", ManifestName))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, &AbsentError{Adapter: path, Reason: "the folder has no adapters"}
	}
	slices.Sort(files)
	var all []Manifest
	for _, f := range files {
		m, err := read(filepath.Dir(f))
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// read reads the manifest of a folder.
func read(dir string) (Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return Manifest{}, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	m.Dir, err = filepath.Abs(dir)
	return m, err
}

func parseManifest(data []byte) (m Manifest, err error) {
	if len(data) > maxManifest {
		return m, fmt.Errorf("more than %d bytes", maxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, err
	}
	if len(m.Run) == 0 || m.Run[0] == "" {
		return m, errors.New("run: there is no program")
	}
	return m, nil
}

// Name is that of the folder, or the path of the program where there is none.
func (m *Manifest) Name() string {
	if m.Dir == "" {
		return m.Run[0]
	}
	return filepath.Base(m.Dir)
}

// Start starts the adapter in its folder. The error is an *AbsentError where its
// program is not there.
func (m *Manifest) Start(ctx context.Context) (*Adapter, error) {
	program := m.Run[0]
	if m.Dir != "" && strings.Contains(program, "/") && !filepath.IsAbs(program) {
		program = filepath.Join(m.Dir, filepath.FromSlash(program))
	}
	a, err := start(ctx, m.Name(), m.Dir, program, m.Run[1:]...)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, &AbsentError{m.Name(), m.Run[0] + " is not there", m.Install}
	}
	return a, err
}
