package monitor

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

func deployed(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var descOf = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// known returns the names of all time series, each with its labels.
func known(t *testing.T) map[string][]string {
	t.Helper()
	ch := make(chan *prometheus.Desc, 1000)
	NewMetrics(&fake{}).registry.Describe(ch)
	close(ch)
	names := map[string][]string{"up": {"job"}}
	for d := range ch {
		found := descOf.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("cannot read %s", d)
		}
		labels := append(strings.Split(found[2], ","), "instance", "job")
		names[found[1]] = labels
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			names[found[1]+suffix] = append(slices.Clone(labels), "le")
		}
	}
	return names
}

var (
	series  = regexp.MustCompile(`\b((?:tacit|process|go)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?`)
	matcher = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	groups  = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// checkExpr checks that an expression names series and labels that exist.
func checkExpr(t *testing.T, where, expr string, names map[string][]string) {
	t.Helper()
	found := series.FindAllStringSubmatch(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: no series in %s", where, expr)
	}
	var all []string
	for _, f := range found {
		labels, ok := names[f[1]]
		if !ok {
			t.Errorf("%s: there is no series %s", where, f[1])
		}
		all = append(all, labels...)
		for _, m := range matcher.FindAllStringSubmatch(f[2], -1) {
			if ok && !slices.Contains(labels, m[1]) {
				t.Errorf("%s: %s has no label %s", where, f[1], m[1])
			}
			if m[1] == "reason" && !slices.Contains(alarms, m[2]) {
				t.Errorf("%s: the reason %s is not counted from 0", where, m[2])
			}
		}
	}
	for _, g := range groups.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if label = strings.TrimSpace(label); !slices.Contains(all, label) {
				t.Errorf("%s: no label %s in %s", where, label, expr)
			}
		}
	}
	for _, pair := range []string{"()", "{}", "[]"} {
		if strings.Count(expr, pair[:1]) != strings.Count(expr, pair[1:]) {
			t.Errorf("%s: unbalanced %s in %s", where, pair, expr)
		}
	}
}

func TestDashboard(t *testing.T) {
	var d struct {
		Title, UID string
		Panels     []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, RefID string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(deployed(t, "grafana.json"), &d); err != nil {
		t.Fatal(err)
	}
	if d.Title != "Tacit" || d.UID != "tacit" || len(d.Panels) < 10 {
		t.Errorf("%q, %q, %d panels", d.Title, d.UID, len(d.Panels))
	}
	names := known(t)
	ids := make(map[int]bool)
	for i, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d: %+v", i, p)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			a, b := p.GridPos, q.GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%q lies over %q", p.Title, q.Title)
			}
		}
		for _, target := range p.Targets {
			checkExpr(t, p.Title, target.Expr, names)
			for _, variable := range regexp.MustCompile(`\$([a-z]+)`).FindAllStringSubmatch(target.Expr, -1) {
				if !slices.ContainsFunc(d.Templating.List, func(v struct{ Name string }) bool { return v.Name == variable[1] }) {
					t.Errorf("%s: there is no variable %s", p.Title, variable[0])
				}
			}
		}
	}
}

// TestEverySeriesIsShown: what is measured and stands nowhere on the dashboard is of no use.
func TestEverySeriesIsShown(t *testing.T) {
	text := string(deployed(t, "grafana.json"))
	for name := range known(t) {
		base := name
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if strings.HasPrefix(name, "tacit_") && name == base && !strings.Contains(text, name) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// TestClusterCountsOnce: every server of a cluster tells of all jobs of the store.
func TestClusterCountsOnce(t *testing.T) {
	for _, name := range []string{"grafana.json", "alerts.yml"} {
		if found := regexp.MustCompile(`sum *(by \([^)]*\) *)?\(tacit_(jobs|queue|store)_?[a-z_]*[{)]`).Find(deployed(t, name)); found != nil {
			t.Errorf("%s adds up what each server tells of the whole store: %s", name, found)
		}
	}
}

func TestAlerts(t *testing.T) {
	var f struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr         string
				For                 string
				Labels, Annotations map[string]string
			}
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(deployed(t, "alerts.yml")))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		t.Fatal(err)
	}
	names := known(t)
	seen := make(map[string]bool)
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Tacit") || r.Annotations["summary"] == "" || r.Annotations["action"] == "" ||
				!slices.Contains([]string{"warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("rule %+v", r)
			}
			seen[r.Alert] = true
			checkExpr(t, r.Alert, r.Expr, names)
		}
	}
	if len(seen) < 5 {
		t.Errorf("%d alerts", len(seen))
	}
}

// TestCheckExpr: the check finds what it is for.
func TestCheckExpr(t *testing.T) {
	names := known(t)
	for expr, ok := range map[string]bool{
		`sum by (state) (tacit_jobs{state="queued"})`:   true,
		`rate(tacit_node_seconds_bucket{op="add"}[5m])`: true,
		`tacit_no_such`:                      false,
		`tacit_jobs{op="add"}`:               false,
		`sum by (op) (tacit_jobs)`:           false,
		`sum(tacit_jobs`:                     false,
		`1`:                                  false,
		`tacit_job_errors_total{reason="X"}`: false,
	} {
		inner := new(testing.T)
		checkExpr(inner, "test", expr, names)
		if inner.Failed() == ok {
			t.Errorf("%s: failed %v", expr, inner.Failed())
		}
	}
}
