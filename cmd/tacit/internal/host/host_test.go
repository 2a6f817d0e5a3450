package host

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/fhe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T) Config {
	t.Helper()
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Options: coprocessor.Options{Dir: t.TempDir(), Params: p, Backend: b, Version: "test"}, Listen: "127.0.0.1:0"}
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := Run(ctx, config(t), func(address string) {
		c, err := client.Dial(address, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if info, err := c.Info(ctx); err != nil || info.Version != "test" {
			t.Errorf("%v, %v", info, err)
		}
		cancel()
	})
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	if ctx.Err() != context.Canceled {
		t.Errorf("it ended before it was told to: %v", ctx.Err())
	}
}

func TestRunRefuses(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		c := config(t)
		c.Listen = listen
		if err := Run(t.Context(), c, nil); !errors.As(err, new(*InsecureError)) {
			t.Errorf("%s: %v", listen, err)
		}
	}
	c := config(t)
	c.Listen = "nowhere"
	if err := Run(t.Context(), c, nil); err == nil {
		t.Error("an address without a port")
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Listen = l.Addr().String()
	if err := Run(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an address in use: %v", err)
	}

	c = config(t)
	if c.Params, err = fhe.Preset("tacit-bool-v1"); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), c, nil); !errors.As(err, new(*fhe.ParametersError)) {
		t.Errorf("parameters without integers: %v", err)
	}
}

func TestRunInsecure(t *testing.T) {
	c := config(t)
	c.Listen, c.InsecurePlaintext = ":0", true
	ctx, cancel := context.WithCancel(t.Context())
	if err := Run(ctx, c, func(string) { cancel() }); err != nil {
		t.Error(err)
	}
}

func TestMonitor(t *testing.T) {
	c := config(t)
	var address string
	c.Monitor = MonitorConfig{Listen: ":0", Profiling: true, Ready: func(a string) { address = a }}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	err := Run(ctx, c, func(string) {
		defer cancel()
		if !strings.HasPrefix(address, "127.0.0.1:") {
			t.Fatalf("listens on %s", address)
		}
		for path, want := range map[string]string{
			"/healthz": "ok", "/metrics": "tacit_build_info", "/": "Recent jobs", "/debug/pprof/": "goroutine",
		} {
			resp, err := client.Get("http://" + address + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), want) {
				t.Errorf("%s: %d %v", path, resp.StatusCode, err)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := client.Get("http://" + address + "/healthz"); err == nil {
		t.Error("it answers after the end")
	}
}

func TestMonitorRefuses(t *testing.T) {
	c := config(t)
	c.Monitor = MonitorConfig{Listen: "0.0.0.0:0", Profiling: true}
	if err := Run(t.Context(), c, nil); !errors.As(err, new(*ProfilingError)) {
		t.Errorf("profiles for everyone: %v", err)
	}
	c.Monitor = MonitorConfig{Listen: "nowhere"}
	if err := Run(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "metrics") {
		t.Errorf("an address without a port: %v", err)
	}
	c.Monitor.Listen = "0.0.0.0:0"
	ctx, cancel := context.WithCancel(t.Context())
	if err := Run(ctx, c, func(string) { cancel() }); err != nil {
		t.Errorf("metrics for everyone: %v", err)
	}
}
