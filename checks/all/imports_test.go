package all_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "milterd/"

// kits are packages for tests. Commands use checktest and miltertest too, to try a configuration with a DNS from zone text and to
// send a session to a running daemon.
var kits = []string{"checks/checktest", "milter/miltertest", "milter/resolver/dnstest"}

// libraries are the modules that checks may import. No milter, metrics or store library and no other DNS client is among them.
var libraries = []string{
	"github.com/gaissmai/bart", "github.com/miekg/dns", "github.com/sirupsen/logrus", "golang.org/x/net/idna", "golang.org/x/net/publicsuffix",
}

// layer returns the layer of a package.
func layer(pkg string) string {
	top, rest, nested := strings.Cut(pkg, "/")
	switch {
	case slices.Contains(kits, pkg):
		return "kit"
	case pkg == "checks/all", pkg == "checks/facts":
		return pkg
	case strings.HasPrefix(pkg, "checks/facts/"):
		return "evaluator" // spf, ...
	case top == "checks" && nested:
		if strings.Contains(rest, "/") {
			return "inside checks/" + path.Dir(rest) // part of one check
		}
		return "check"
	default:
		return top
	}
}

// below has the layers that a layer may import. Packages of milter and cmd may import each other; the compiler excludes cycles.
var below = map[string][]string{
	"cmd":          {"cmd", "milter", "checks/all", "check", "checks/facts", "evaluator", "checks", "headers"}, // a check: for its operator commands
	"milter":       {"milter", "checks", "headers"},
	"checks/all":   {"check", "checks"},
	"check":        {"checks/facts", "evaluator", "checks", "headers"},
	"checks/facts": {"evaluator", "checks", "headers"},
	"evaluator":    {"checks", "headers"},
	"checks":       {"headers"},
	"headers":      {},
	"kit":          {"kit", "milter", "checks", "headers"},
}

// importFault returns what is wrong with an import, or "". Paths of this module are relative to it.
func importFault(pkg, imported string, inTest bool) string {
	own, ours := strings.CutPrefix(imported, module)
	from := layer(pkg)
	if !ours {
		return libraryFault(from, imported, inTest)
	}
	to := layer(own)
	switch {
	case from == "", below[from] == nil && !strings.HasPrefix(from, "inside "):
		return "is in an unknown folder"
	case own == pkg && inTest: // a test in an external package
		return ""
	case from == "cmd" && strings.HasPrefix(to, "inside "), to == "inside "+pkg, from == to && strings.HasPrefix(from, "inside "), strings.HasPrefix(from, "inside ") && slices.Contains(below["check"], to):
		return ""
	case to == "kit" && (inTest || from == "cmd" && (own == "checks/checktest" || own == "milter/miltertest")):
		return ""
	case inTest && (from == "cmd" || from == "milter" || from == "checks/all"):
		return "" // end-to-end tests may import everything
	case !slices.Contains(below[from], to):
		return "may not import " + own
	}
	return ""
}

// libraryFault returns what is wrong with an import of another module, or "".
func libraryFault(from, imported string, inTest bool) string {
	first, _, _ := strings.Cut(imported, "/")
	standard := !strings.Contains(first, ".")
	isCheck := strings.HasPrefix(from, "check") || from == "evaluator" || strings.HasPrefix(from, "inside ")
	switch {
	case standard:
		return ""
	case from == "headers":
		return "may import only the standard library, not " + imported
	case isCheck && !inTest && !slices.Contains(libraries, imported):
		return "may not import " + imported
	case isCheck && strings.Contains(imported, "go-milter"):
		return "may not import " + imported
	}
	return ""
}

// usesSessionTime reports whether the packages of a layer must take the time from the session.
func usesSessionTime(from string) bool {
	return from == "check" || from == "checks/facts" || from == "evaluator" || strings.HasPrefix(from, "inside ")
}

// clockFunctions are the functions of package time that read or wait for the clock.
var clockFunctions = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// forbidden returns the uses of the clock in a file, and init functions, which checks may not have either.
func forbidden(file *ast.File) []string {
	name := ""
	for _, imp := range file.Imports {
		if imp.Path.Value == `"time"` {
			name = "time"
			if imp.Name != nil {
				name = imp.Name.Name
			}
		}
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && name != "" && x.Name == name && slices.Contains(clockFunctions, n.Sel.Name) {
				out = append(out, "uses time."+n.Sel.Name)
			}
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				out = append(out, "has an init function")
			}
		}
		return true
	})
	if name == "." {
		out = append(out, "imports time with a dot")
	}
	return out
}

// TestImports tests all Go files of the module, including those for other platforms.
func TestImports(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		files++
		pkg, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		for _, fault := range faults(t, name, filepath.ToSlash(pkg)) {
			t.Errorf("%s %s", filepath.ToSlash(name), fault)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("found only %d files", files)
	}
}

// faults returns what is wrong in one file of a package.
func faults(t *testing.T, name, pkg string) []string {
	t.Helper()
	inTest := strings.HasSuffix(name, "_test.go") || strings.HasPrefix(pkg, "cmd/milterd/e2e/")
	mode := parser.ImportsOnly
	if usesSessionTime(layer(pkg)) && !inTest {
		mode = parser.SkipObjectResolution
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, imp := range file.Imports {
		imported, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if fault := importFault(pkg, imported, inTest); fault != "" {
			out = append(out, fault)
		}
	}
	if mode != parser.ImportsOnly {
		out = append(out, forbidden(file)...)
	}
	return out
}

// TestImportFault tests that TestImports can fail.
func TestImportFault(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"headers -> milterd/checks", "headers -> github.com/miekg/dns", "headers -> golang.org/x/net/idna",
		"checks -> milterd/checks/facts", "checks -> milterd/milter", "checks -> milterd/checks/helo",
		"checks -> github.com/emersion/go-milter", "checks -> milterd/checks/checktest",
		"checks/facts -> milterd/checks/spf", "checks/facts -> milterd/milter/resolver",
		"checks/facts/spf -> milterd/checks/facts", "checks/facts/spf -> milterd/checks/spf", "checks/facts/spf -> milterd/checks/facts/dkim",
		"checks/facts/spf -> blitiri.com.ar/go/spf", "checks -> milterd/checks/facts/spf",
		"checks/helo -> milterd/checks/rdns", "checks/helo -> milterd/milter", "checks/helo -> milterd/milter/resolver",
		"checks/helo -> milterd/checks/checktest", "checks/helo -> github.com/emersion/go-milter",
		"checks/helo -> github.com/prometheus/client_golang/prometheus", "checks/greylist -> github.com/redis/go-redis/v9",
		"checks/greylist -> go.etcd.io/bbolt", "checks/all -> milterd/checks/facts", "checks/all -> milterd/milter",
		"milter -> milterd/checks/all", "milter -> milterd/checks/helo", "milter -> milterd/cmd/milterd",
		"milter/resolver -> milterd/checks/facts", "milter -> milterd/milter/miltertest", "milter/resolver -> milterd/checks/checktest",
		"util -> milterd/checks", "checks/helo -> milterd/util",
	} {
		from, to, _ := strings.Cut(line, " -> ")
		if importFault(from, to, false) == "" {
			t.Errorf("%s was accepted", line)
		}
	}
	for _, line := range []string{
		"cmd/milterd -> milterd/milter", "cmd/milterd -> milterd/milter/resolver", "cmd/milterd -> milterd/checks/all",
		"cmd/milterd -> milterd/checks", "cmd/milterd -> milterd/checks/checktest", "cmd/milterd -> milterd/cmd/milterd/internal/config",
		"milter -> milterd/checks", "milter/resolver -> milterd/checks", "milter -> milterd/headers", "cmd/milterd/internal/session -> milterd/milter/miltertest",
		"checks/all -> milterd/checks/helo", "checks/helo -> milterd/checks/facts", "checks/helo -> milterd/checks",
		"checks/helo -> milterd/checks/facts/spf", "checks/facts -> milterd/checks/facts/spf", "checks/facts/spf -> milterd/checks",
		"checks/facts/spf -> milterd/headers",
		"checks/helo -> milterd/headers", "checks/facts -> milterd/headers", "checks -> milterd/headers",
		"checks/helo -> github.com/miekg/dns", "milter -> github.com/emersion/go-milter", "headers -> net/netip",
		"checks/rdns/words -> milterd/checks", "checks/rdns -> milterd/checks/rdns/words",
	} {
		from, to, _ := strings.Cut(line, " -> ")
		if fault := importFault(from, to, false); fault != "" {
			t.Errorf("%s: %s", line, fault)
		}
	}
	for line, want := range map[string]bool{
		"checks/helo -> milterd/checks/checktest": true, "checks/helo -> milterd/checks/helo": true,
		"checks/helo -> milterd/checks/rdns": false, "checks/helo -> milterd/milter": false,
		"checks/facts/spf -> blitiri.com.ar/go/spf": true, "checks/helo -> github.com/emersion/go-milter": false,
		"milter -> milterd/checks/all": true, "headers -> github.com/emersion/go-message": false,
	} {
		from, to, _ := strings.Cut(line, " -> ")
		if fault := importFault(from, to, true); (fault == "") != want {
			t.Errorf("in a test, %s: %q", line, fault)
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]int{
		`package p; import "time"; var d = time.Hour`:                                       0,
		`package p; import "time"; func f() time.Time { return time.Now() }`:                1,
		`package p; import clock "time"; var f = clock.Now`:                                 1,
		`package p; import . "time"; var t = Now()`:                                         1,
		`package p; import "time"; func f(t time.Time) { <-time.After(time.Since(t)) }`:     2,
		`package p; func init() {}`:                                                         1,
		`package p; type time struct{}; func (t time) Now() {}; func f(t time) { t.Now() }`: 0,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if got := forbidden(file); len(got) != want {
			t.Errorf("%s: got %s", source, fmt.Sprint(got))
		}
	}
}
