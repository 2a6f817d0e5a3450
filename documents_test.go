package tacit_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// documents returns the Markdown files below the root, by their paths with slashes.
func documents(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".md":
			return nil
		}
		data, err := os.ReadFile(p)
		found[filepath.ToSlash(p)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	code    = regexp.MustCompile("(?m)^ {4}.*$|`[^`\n]*`")
)

// anchors are the names of the headings of a document, as GitHub makes them.
func anchors(text string) (names []string) {
	seen := make(map[string]int)
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		if n := seen[name]; n > 0 {
			names = append(names, fmt.Sprintf("%s-%d", name, n))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	return names
}

// broken returns the relative links of the documents that lead nowhere.
func broken(texts map[string]string, exists func(path string) bool) (found []string) {
	for name, text := range texts {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			u, err := url.Parse(m[1])
			if err == nil && u.Scheme != "" {
				continue
			}
			target := name
			if err == nil && u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
			}
			switch {
			case err != nil || strings.HasPrefix(target, "..") || !exists(target):
				found = append(found, name+": "+m[1])
			case u.Fragment != "" && !slices.Contains(anchors(texts[target]), u.Fragment):
				found = append(found, name+": "+m[1]+": no such heading")
			}
		}
	}
	slices.Sort(found)
	return found
}

// TestLinks: every relative link in a Markdown file leads to a file and a heading that
// are there.
func TestLinks(t *testing.T) {
	texts := documents(t)
	if len(texts) < 10 {
		t.Fatalf("%d documents", len(texts))
	}
	for _, b := range broken(texts, func(p string) bool { _, err := os.Stat(filepath.FromSlash(p)); return err == nil }) {
		t.Error(b)
	}
}

func TestBroken(t *testing.T) {
	texts := map[string]string{
		"a/x.md": "# One thing\n[b](../y.md) [c](y.md) [d](#one-thing) [e](#two) [f](../y.md#two--3-) [g](https://example.org/none) [h](../../z)\n    [code](none)\n`[code](none)`",
		"y.md":   "## Two: 3%\n## Two -3-\n## Two -3-\n[i](#two--3--1) [j](#two-3)",
	}
	want := []string{"a/x.md: #two: no such heading", "a/x.md: ../../z", "a/x.md: y.md"}
	if got := broken(texts, func(p string) bool { return texts[p] != "" }); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
