package all_test

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"milterd/checks"
	"milterd/checks/all"
	"milterd/checks/checktest"
)

// TestProfileWatch tests that the profile watches every reason, except those whose check connects to other hosts.
func TestProfileWatch(t *testing.T) {
	t.Parallel()
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			want := checks.Watch
			if info.Name == "callout" {
				want = checks.Off
			}
			if got := checks.WatchProfile.Action(r); got != want {
				t.Errorf("%s: %s, want %s", r.ID, got, want)
			}
		}
	}
}

// contract has the check, the id, the default actions and the codes of each reason. Configuration files, dashboards and links
// rely on them: a line changes only with a note to the operators.
const contract = `
access client-denied reject reject 550 5.7.1
access helo-denied reject reject 550 5.7.1
access sender-denied reject reject 550 5.7.1
counters client-blocked tempfail reject 550 5.7.1
counters too-many-resets tempfail reject 550 5.7.1
counters too-many-bad-recipients tempfail reject 550 5.7.1
counters too-many-errors tempfail reject 550 5.7.1
rdns rdns-missing greylist reject 550 5.7.25
rdns rdns-mismatch greylist reject 550 5.7.25
rdns rdns-dynamic greylist reject 550 5.7.1
helo helo-missing watch reject 503 5.5.1
helo helo-syntax reject reject 501 5.5.2
helo helo-underscore watch reject 501 5.5.2
helo helo-bare-ip reject reject 501 5.5.2
helo helo-not-fqdn greylist reject 504 5.5.2
helo helo-literal greylist reject 550 5.7.1
helo helo-literal-near watch reject 550 5.7.1
helo helo-own-name reject reject 550 5.7.1
helo helo-unresolvable greylist reject 550 5.7.1
helo helo-cname watch reject 550 5.7.1
helo helo-mismatch watch reject 550 5.7.1
helo helo-changed watch reject 550 5.7.1
sender sender-syntax reject reject 553 5.1.7
sender sender-syntax-lax watch reject 553 5.1.7
sender sender-no-domain tempfail reject 550 5.1.8
sender sender-null-mx reject reject 550 5.7.27
sender sender-bogus-mx greylist reject 550 5.1.8
sender sender-own-domain greylist reject 550 5.7.1
sender sender-history off watch 550 5.7.1
sender domain-new watch tempfail 550 5.7.1
dnsbl dnsbl-listed reject reject 550 5.7.1
dnsbl rhsbl-listed reject reject 550 5.7.1
spf spf-fail greylist reject 550 5.7.23
spf spf-no-mail reject reject 550 5.7.23
spf spf-too-wide greylist reject 550 5.7.1
spf spf-helo-fail reject reject 550 5.7.23
spf spf-softfail watch greylist 550 5.7.1
spf spf-none off watch 550 5.7.1
spf spf-permerror watch reject 550 5.7.24
spf spf-temperror watch tempfail 451 4.7.24
mxplus mxplus-mismatch off off 550 5.7.1
msgfields date-missing watch reject 550 5.6.0
msgfields date-invalid reject reject 550 5.6.0
msgfields date-lax watch reject 550 5.6.0
msgfields date-future greylist reject 550 5.6.0
msgfields date-past greylist reject 550 5.6.0
msgfields msgid-missing watch reject 550 5.6.0
msgfields msgid-invalid reject reject 550 5.6.0
msgfields msgid-lax watch reject 550 5.6.0
msgfields from-missing reject reject 550 5.6.0
msgfields from-invalid reject reject 550 5.6.0
msgfields from-lax watch reject 550 5.6.0
msgfields field-duplicate reject reject 550 5.6.0
msgfields field-repeated watch reject 550 5.6.0
msgfields field-too-long watch watch 550 5.6.0
msgfields field-8bit watch watch 550 5.6.0
msgfields field-syntax reject reject 550 5.6.0
dkim dkim-fail watch watch 550 5.7.20
dkim dkim-none off off 550 5.7.20
dmarc dmarc-reject reject reject 550 5.7.1
dmarc dmarc-quarantine tag quarantine 550 5.7.1
dmarc dmarc-list tag quarantine 550 5.7.1
dmarc dmarc-indirect watch greylist 550 5.7.1
dmarc dmarc-fail off watch 550 5.7.1
dmarc auth-none watch reject 550 5.7.26
dmarc from-unaligned off watch 550 5.7.22
author from-multiple watch reject 550 5.6.0
author from-no-domain watch reject 550 5.1.8
author from-encoded watch reject 550 5.6.0
author from-display off watch 550 5.7.1
callout callout-rejected off tempfail 550 5.1.7
callout callout-unreachable off watch 450 4.1.7
callout callout-pending off tempfail 450 4.1.7
callout from-callout-rejected off watch 550 5.7.1
greylist first-contact off greylist 451 4.7.1
greylist greylisted tempfail tempfail 451 4.7.1
`

func TestContract(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, info := range all.Checks {
		if !strings.Contains(contract, "\n"+info.Name+" ") {
			continue // a new check
		}
		for _, r := range info.Reasons {
			fmt.Fprintln(&b, info.Name, r.ID, r.Safe, r.Strict, r.Reply.Code, r.Reply.Enhanced)
		}
	}
	got := strings.Split(strings.TrimSpace(b.String()), "\n")
	want := strings.Split(strings.TrimSpace(contract), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not in the constant contract: %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("in the constant contract, but no check has it: %s", line)
		}
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Error("the order differs, which decides the reason of a reply")
	}
}

// properties are properties of reasons, and patterns of check/reason that have them. They change only on purpose. Checks that
// are not in the contract are not tested.
var properties = []struct {
	name string
	has  func(checks.Info, *checks.Reason) bool
	of   string
}{
	{"Identity", func(_ checks.Info, r *checks.Reason) bool { return r.Identity }, "rdns/* helo/* sender/sender-* spf/*"},
	{"NotHistory", func(_ checks.Info, r *checks.Reason) bool { return r.NotHistory }, "access/* counters/* rdns/* helo/* sender/* spf/spf-helo-fail mxplus/*"},
	{"Accuses", func(_ checks.Info, r *checks.Reason) bool { return r.Accuses }, "access/* counters/* dnsbl/*"},
	{"Greylisting", func(_ checks.Info, r *checks.Reason) bool { return r.Greylisting }, "greylist/*"},
	{"Unanswered", func(_ checks.Info, r *checks.Reason) bool { return r.Unanswered }, "spf/spf-temperror"},
	{"Public", func(i checks.Info, _ *checks.Reason) bool { return i.Public }, "rdns/* helo/* sender/* spf/* mxplus/* dkim/* dmarc/* author/*"},
	// An operator who verifies no signatures switches these off, so that the mail server sends no bodies.
	{"Body", func(i checks.Info, _ *checks.Reason) bool { return i.Body }, "spf/* dkim/* dmarc/*"},
	{"Repair", func(_ checks.Info, r *checks.Reason) bool { return r.Repair != checks.NoRepair },
		"rdns/* helo/helo-own-name helo/helo-unresolvable helo/helo-cname helo/helo-mismatch " +
			"sender/sender-no-domain sender/sender-null-mx sender/sender-bogus-mx sender/sender-own-domain dnsbl/* spf/* mxplus/* " +
			"dkim/dkim-fail dmarc/dmarc-reject dmarc/dmarc-quarantine dmarc/dmarc-fail dmarc/auth-none dmarc/from-unaligned"},
}

func TestProperties(t *testing.T) {
	t.Parallel()
	for _, p := range properties {
		matched := map[string]bool{}
		for _, info := range all.Checks {
			for _, r := range info.Reasons {
				if !strings.Contains(contract, "\n"+info.Name+" "+r.ID+" ") {
					continue
				}
				want := false
				for _, pattern := range strings.Fields(p.of) {
					if is, err := path.Match(pattern, info.Name+"/"+r.ID); err != nil {
						t.Fatal(err)
					} else if is {
						want, matched[pattern] = true, true
					}
				}
				if got := p.has(info, r); got != want {
					t.Errorf("%s of %s: %t, want %t", p.name, r.ID, got, want)
				}
			}
		}
		for _, pattern := range strings.Fields(p.of) {
			if !matched[pattern] {
				t.Errorf("%s: no reason matches %s", p.name, pattern)
			}
		}
	}
}

// eachReason runs a test for every reason.
func eachReason(t *testing.T, test func(*testing.T, *checks.Reason)) {
	t.Helper()
	t.Parallel()
	for _, info := range all.Checks {
		for _, r := range info.Reasons {
			t.Run(r.ID, func(t *testing.T) { test(t, r) })
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	names, ids := map[string]bool{}, map[string]bool{}
	for _, r := range checks.PipelineReasons() {
		ids[r.ID] = true
	}
	word, id := regexp.MustCompile(`^[a-z][a-z0-9]*$`), regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, info := range all.Checks {
		if names[info.Name] || !word.MatchString(info.Name) {
			t.Errorf("check %q: not one lower-case word, or not unique", info.Name)
		}
		names[info.Name] = true
		for _, r := range info.Reasons {
			if ids[r.ID] || !id.MatchString(r.ID) {
				t.Errorf("reason %q: not lower-case words with hyphens, reserved, or not unique", r.ID)
			}
			ids[r.ID] = true
		}
	}
}

var enhancedCode = regexp.MustCompile(`^[45]\.\d{1,3}\.\d{1,3}$`) // RFC 3463 section 2

func TestReplies(t *testing.T) {
	eachReason(t, func(t *testing.T, r *checks.Reason) {
		for _, reply := range []checks.Reply{r.Reply, r.Reply.Temporary()} {
			if reply.Code < 400 || reply.Code > 599 || !enhancedCode.MatchString(reply.Enhanced) ||
				int(reply.Enhanced[0]-'0') != reply.Code/100 {
				t.Errorf("code %d and enhanced status code %s do not match", reply.Code, reply.Enhanced)
			}
		}
		text := r.Reply.Text
		if bare := strings.NewReplacer("{", "", "}", "").Replace(text); strings.Count(text, "{") != len(checktest.Placeholders(text)) ||
			len(text)-len(bare) != 2*len(checktest.Placeholders(text)) {
			t.Errorf("unpaired braces: %s", text)
		}
		for _, name := range checktest.Placeholders(text) {
			if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
				t.Errorf("{%s} is not a placeholder", name)
			}
		}
		if len(text) < 15 || len(text) > 120 || strings.HasSuffix(text, ".") {
			t.Errorf("not one sentence of 15 to 120 bytes without full stop: %s", text)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("not printable US-ASCII: %q", text)
		}
	})
}

func TestTexts(t *testing.T) {
	eachReason(t, func(t *testing.T, r *checks.Reason) {
		for what, text := range map[string]string{"why": r.Why, "remedy": r.Remedy} {
			if len(text) < 20 || len(text) > 600 || !strings.HasSuffix(text, ".") || strings.ContainsAny(text[:1], "abcdefghijklmnopqrstuvwxyz") {
				t.Errorf("%s: not sentences of 20 to 600 bytes: %s", what, text)
			}
			if len(checktest.Placeholders(text)) > 0 {
				t.Errorf("%s: has placeholders, which only replies may have: %s", what, text)
			}
		}
		if len(r.When) < 10 || len(r.When) > 300 || strings.HasSuffix(r.When, ".") || strings.HasPrefix(r.When, "when") {
			t.Errorf("when: not a phrase of 10 to 300 bytes without full stop: %s", r.When)
		}
		for _, text := range []string{r.When, r.Why, r.Remedy} {
			if strings.Contains(text, "  ") || strings.TrimSpace(text) != text {
				t.Errorf("superfluous space: %q", text)
			}
		}
	})
}

func TestDefaultActions(t *testing.T) {
	eachReason(t, func(t *testing.T, r *checks.Reason) {
		most := r.Most
		if most == checks.Off {
			most = checks.Reject
		}
		if r.Safe > most || r.Strict > most || r.Safe > r.Strict {
			t.Errorf("safe %s, strict %s, most %s", r.Safe, r.Strict, most)
		}
	})
}

func TestInfos(t *testing.T) {
	t.Parallel()
	env := checktest.Env(t, "")
	for _, info := range all.Checks {
		if len(info.Doc) < 20 || !strings.HasSuffix(info.Doc, ".") {
			t.Errorf("%s: doc: not sentences of 20 bytes or more: %s", info.Name, info.Doc)
		}
		if len(info.Stages) == 0 || !slices.IsSorted(info.Stages) {
			t.Errorf("%s: stages %v: none, or not in their order", info.Name, info.Stages)
		}
		if c, err := info.New(func(any) error { return nil }, env); c == nil || err != nil {
			t.Errorf("%s cannot be built with its defaults: %v", info.Name, err)
		}
		if v, ok := info.Default.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				t.Errorf("%s: defaults: %v", info.Name, err)
			}
		}
		testSettings(t, info.Name, reflect.TypeOf(info.Default))
	}
}

// testSettings tests that each setting has a key and a sentence, and that the tag one is on strings.
func testSettings(t *testing.T, path string, settings reflect.Type) {
	t.Helper()
	if settings.Kind() == reflect.Slice {
		settings = settings.Elem()
	}
	isText := reflect.PointerTo(settings).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	if settings.Kind() != reflect.Struct || isText {
		return
	}
	for f := range settings.Fields() {
		key, doc := f.Tag.Get("yaml"), f.Tag.Get("doc")
		if key == "" || doc == "" || !strings.HasSuffix(doc, ".") || len(doc) > 200 {
			t.Errorf("%s.%s: tags yaml %q and doc %q; want a key, and a sentence of at most 200 bytes with a full stop", path, f.Name, key, doc)
		}
		if f.Tag.Get("one") != "" && f.Type.Kind() != reflect.String {
			t.Errorf("%s.%s: the tag one is for strings only; give the type a method UnmarshalText", path, f.Name)
		}
		testSettings(t, path+"."+key, f.Type)
	}
}

// notChecks are folders that have no check.
var notChecks = []string{"all", "checktest", "facts"}

// TestFolders tests that each check is in a folder of its name, and each folder in the registry.
func TestFolders(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "all.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var registered []string
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Info" {
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name != "checks" {
				registered = append(registered, pkg.Name)
			}
		}
		return true
	})
	var names []string
	for _, info := range all.Checks {
		names = append(names, info.Name)
		if slices.Contains(notChecks, info.Name) {
			t.Errorf("a check cannot have the name %s", info.Name)
		}
	}
	if !slices.Equal(registered, names) {
		t.Errorf("folders %q have checks named %q", registered, names)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || slices.Contains(notChecks, e.Name()) || slices.Contains(names, e.Name()) {
			continue
		}
		if sources, _ := filepath.Glob(filepath.Join("..", e.Name(), "*.go")); len(sources) > 0 {
			t.Errorf("checks/%s is not in the registry", e.Name())
		}
	}
}
