package gpu

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestScript has run.sh run programs that only say what they were called with: it gets through
// whatever fails or is not there, tells what did, and keeps everything.
func TestScript(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("run.sh is for Linux")
	}
	programs := map[string]string{
		"programs/tacit": `
case "$*" in
doctor) echo 'ok   self-test gpu 0  fine' ;;
*unroll3*100000*) echo 'error: bootstrap 7 differs from that of the processor' >&2; exit 1 ;;
*) echo "figures of $*"; touch "$4" ;;
esac`,
		"programs/cuda.test":      "echo $TACIT_TEST_DEVICE $*",
		"programs/bootstrap.test": `case "$*" in *Operation*) kill -9 $$ ;; esac`,
		"bin/ncu": `
echo "  $7 (132, 1, 1)x(256, 1, 1), Context 1"
echo "    Compute (SM) Throughput           %        71.5"
echo "    DRAM Throughput                   %         3.1"`,
	}
	dir, results := t.TempDir(), filepath.Join(t.TempDir(), "results")
	for name, text := range programs {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("tar", "czf", filepath.Join(dir, "programs.tar.gz"), "-C", dir, "programs").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := func(limit string) (string, int) {
		cmd := exec.Command("bash", "run.sh", "run", dir, results)
		cmd.Env = append(os.Environ(), "LIMIT="+limit, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := run("530")
	if code != 1 || len(out) > 30_000 {
		t.Errorf("exit code %d, %d characters", code, len(out))
	}
	summary, err := os.ReadFile(filepath.Join(results, "summary.txt"))
	if err != nil || !strings.HasSuffix(out, string(summary)) {
		t.Errorf("the summary is not at the end: %v\n%s", err, out)
	}
	for _, want := range []string{
		"ok doctor (", "ok conformance (", "ok bench-default (", "OUT OF TIME operations (", "ok bootstraps (", "ok transforms (", "ok ncu-rotate_cmux (",
		"FAILED (1) digests (", "\n    error: bootstrap 7 differs", "SKIPPED gorgonia: no program", "figures of bench gpu --save bench-block.json",
		"ncu-rotate_combined_few; Compute (SM) Throughput % 71.5; DRAM Throughput % 3.1",
	} {
		if !strings.Contains(string(summary), want) {
			t.Errorf("no %q in\n%s", want, summary)
		}
	}
	parts := unpack(t, filepath.Join(results, "parts.tar.gz"))
	if got := parts["parts/conformance.txt"]; got != "cuda -test.v -test.run ^TestGPU$\n" {
		t.Errorf("conformance.txt has %q", got)
	}
	if _, ok := parts["parts/bench-default.json"]; !ok {
		t.Errorf("no figures in %v", parts)
	}
	if out, code = run("5"); code != 0 || !strings.Contains(out, "SKIPPED digests: no time left") {
		t.Errorf("without time: exit code %d\n%s", code, out)
	}
}

func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(data)
	}
}
