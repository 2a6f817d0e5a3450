package host

import (
	"context"
	"errors"
	"io"
	"log/slog"
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

// The metrics are answered while others hold as many connections as they get, and say
// nothing, trickle a request or send headers without end; those are let go.
func TestMonitorUnderFlood(t *testing.T) {
	l, err := MonitorConfig{Listen: "127.0.0.1:0"}.listen(slog.New(slog.DiscardHandler))
	check(t, err)
	stop := MonitorConfig{}.serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }), slog.New(slog.DiscardHandler))
	defer stop()
	dial := func(from string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", l.Addr().String())
		check(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	over := func(conn net.Conn) (answer string) {
		t.Helper()
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		b, err := io.ReadAll(conn)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("a connection stays open")
		}
		return string(b)
	}
	endless := dial("127.0.0.2")
	io.WriteString(endless, "GET / HTTP/1.1\r\nHost: x\r\nX: ")
	go func() {
		for {
			if _, err := io.WriteString(endless, strings.Repeat("x", 1<<12)); err != nil {
				return
			}
		}
	}()
	if got := over(endless); got != "" && !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("headers without end: %.60q", got)
	}
	var silent []net.Conn
	for i := range monitorConnections / 2 {
		conn := dial("127.0.0.2")
		if i%2 == 0 {
			io.WriteString(conn, "GET / HTTP/1.1\r\n")
		}
		silent = append(silent, conn)
	}
	if got := over(dial("127.0.0.2")); got != "" {
		t.Errorf("one connection more of one address: %q", got)
	}
	other := dial("127.0.0.1")
	io.WriteString(other, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got := over(other); !strings.HasSuffix(got, "ok") {
		t.Errorf("another address: %q", got)
	}
	for _, conn := range silent {
		over(conn)
	}
}
