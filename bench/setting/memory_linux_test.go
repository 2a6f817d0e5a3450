package setting

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAllowed: the least limit of a process's group and of those around it counts.
func TestAllowed(t *testing.T) {
	root := t.TempDir()
	groups := filepath.Join(root, "groups")
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("system.slice/memory.max", "500\n")
	write("system.slice/tacit.service/memory.max", "max\n")
	write("system.slice/small.service/memory.max", "300\n")
	write("broken/memory.max", "many\n")
	for list, want := range map[string]int64{
		"0::/\n": 1000, "0::/system.slice/tacit.service\n": 500, "4:memory:/x\n0::/system.slice/small.service\n": 300,
		"0::/broken\n": 1000, "0::/../../elsewhere\n": 1000, "": 1000, "4:memory:/system.slice\n": 1000,
	} {
		write("groups", list)
		if got := allowed(1000, groups, root); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
	if got := allowed(1000, filepath.Join(root, "absent"), root); got != 1000 {
		t.Errorf("%d", got)
	}
	if AllowedMemory() <= 0 {
		t.Error("the system does not tell")
	}
}
