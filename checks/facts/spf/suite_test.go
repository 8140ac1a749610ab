package spf_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	yaml "go.yaml.in/yaml/v4"

	"milterd/checks"
	"milterd/checks/checktest"
	"milterd/checks/facts/spf"
)

// scenario is a document of the RFC 7208 test suite. The module of blitiri.com.ar/go/spf includes the suite.
type scenario struct {
	Description string
	Tests       map[string]suiteCase
	ZoneData    map[string][]map[string]values `yaml:"zonedata"`
}

// suiteCase is a case of a scenario.
type suiteCase struct {
	Helo        string
	Host        string
	MailFrom    string `yaml:"mailfrom"`
	Result      values
	Explanation string
}

// values is a value or a list of values in YAML.
type values []string

func (v *values) UnmarshalYAML(n *yaml.Node) error {
	var list []string
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			list = append(list, c.Value)
		}
	} else {
		list = []string{n.Value}
	}
	*v = list
	return nil
}

func readSuite(t testing.TB, file string) []scenario {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatalf("finding the module with the test suite: %v", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []scenario
	for d := yaml.NewDecoder(f); ; {
		var s scenario
		switch err := d.Decode(&s); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		}
		out = append(out, s)
	}
}

// suiteZone returns a zone with the records of a scenario. For a name with TIMEOUT, questions for types that are not listed fail.
// Records of the obsolete type SPF become TXT records, unless the name has TXT records too. A TXT record "NONE" is none.
func suiteZone(t testing.TB, zone map[string][]map[string]values) *checktest.Zone {
	t.Helper()
	var text strings.Builder
	for raw, entries := range zone {
		name := masterName(raw)
		hasTXT := slices.ContainsFunc(entries, func(e map[string]values) bool { return e["TXT"] != nil })
		fails, listed := false, map[uint16]bool{}
		fmt.Fprintf(&text, "%s HINFO \"the name\" \"exists\"\n", name)
		for _, entry := range entries {
			for kind, v := range entry {
				switch kind {
				case "CNAMELOOP": // the name has no records
				case "TIMEOUT", "SERVFAIL":
					fails = true
				default:
					if rr := suiteRecord(t, name, kind, v, hasTXT); rr != nil {
						fmt.Fprintln(&text, rr)
						listed[rr.Header().Rrtype] = true
					}
				}
			}
		}
		for _, kind := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypePTR} {
			if fails && !listed[kind] {
				fmt.Fprintf(&text, "!TIMEOUT %s %s\n", name, dns.TypeToString[kind])
			}
		}
	}
	return checktest.NewZone(t, text.String())
}

func suiteRecord(t testing.TB, name, kind string, v values, hasTXT bool) dns.RR {
	t.Helper()
	h := dns.RR_Header{Name: name, Class: dns.ClassINET, Rrtype: dns.StringToType[kind]}
	switch kind {
	case "SPF", "TXT":
		if kind == "SPF" && hasTXT || slices.Equal(v, values{"NONE"}) {
			return nil
		}
		h.Rrtype = dns.TypeTXT
		txt := &dns.TXT{Hdr: h}
		for _, s := range v {
			txt.Txt = append(txt.Txt, masterText(s))
		}
		return txt
	case "A":
		return &dns.A{Hdr: h, A: net.ParseIP(v[0])}
	case "AAAA":
		return &dns.AAAA{Hdr: h, AAAA: net.ParseIP(v[0])}
	case "MX":
		return &dns.MX{Hdr: h, Mx: masterName(v[1])}
	case "PTR":
		return &dns.PTR{Hdr: h, Ptr: masterName(v[0])}
	case "CNAME":
		return &dns.CNAME{Hdr: h, Target: masterName(v[0])}
	default:
		t.Fatalf("%s: unknown type %s", name, kind)
		return nil
	}
}

// masterName returns a name in the form that miekg/dns gives to a name from the wire.
func masterName(raw string) string {
	wire := []byte{}
	for label := range strings.SplitSeq(strings.TrimSuffix(raw, "."), ".") {
		if label == "" || len(label) > 63 {
			continue
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	name, _, err := dns.UnpackDomainName(append(wire, 0), 0)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", raw, err))
	}
	return dns.CanonicalName(name)
}

// masterText returns a text in the form that miekg/dns gives to a character-string from the wire.
func masterText(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '"' || c == '\\':
			b.Write([]byte{'\\', c})
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\%03d", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// subject returns the subject of a case. It splits the reverse-path itself, as some are no valid addresses.
func (c suiteCase) subject() spf.Subject {
	subject := spf.Subject{
		Identity: spf.MailFrom,
		Client:   netip.MustParseAddr(c.Host).Unmap(),
		Helo:     c.Helo,
		Receiver: "mx.example.org",
		Time:     checktest.Now,
	}
	if c.MailFrom == "" {
		subject.Identity, subject.Domain = spf.Helo, strings.ToLower(c.Helo)
		return subject
	}
	local, domain, _ := strings.Cut(c.MailFrom, "@")
	if !strings.HasPrefix(domain, "[") {
		subject.Local, subject.Domain = local, strings.ToLower(domain)
	}
	return subject
}

// suiteCases is the number of cases in each file.
var suiteCases = map[string]int{
	"rfc7208-tests.yml":    203,
	"blitirispf-tests.yml": 83,
}

// expected returns the results that are right for a case of blitiri's own. Its library evaluates names of one label, which
// by section 4.3 have no policy, so that include: of one is a permerror by section 5.2. And where the reverse DNS fails and ptr
// is used, the result here is temperror instead of fail.
func (c suiteCase) expected(name string) []string {
	_, domain, _ := strings.Cut(c.MailFrom, "@")
	switch {
	case domain != "" && !strings.Contains(domain, "."):
		return []string{string(spf.None)}
	case name == "resolution-with-10-lookups":
		return []string{string(spf.PermError)}
	case name == "broken-ptr-forward" || name == "ptr-reverse-lookup-error":
		return []string{string(spf.TempError)}
	default:
		return c.Result
	}
}

func TestSuite(t *testing.T) {
	t.Parallel()
	for file, want := range suiteCases {
		cases, explained := 0, 0
		for _, sc := range readSuite(t, file) {
			resolver := suiteZone(t, sc.ZoneData)
			for name, c := range sc.Tests {
				cases++
				if c.Explanation != "" {
					explained++
				}
				t.Run(file+"/"+name, func(t *testing.T) {
					if file == "blitirispf-tests.yml" {
						c.Result = c.expected(name)
					}
					c.run(t, resolver)
				})
			}
		}
		t.Logf("%s: %d cases, %d with an explanation", file, cases, explained)
		if cases != want {
			t.Errorf("%s: %d cases, want %d", file, cases, want)
		}
	}
}

func (c suiteCase) run(t *testing.T, r checks.Resolver) {
	got, err := spf.CheckHost(t.Context(), r, c.subject())
	if !slices.Contains(c.Result, string(got.Result)) {
		t.Errorf("result %s, want %v (%+v)", got.Result, c.Result, got)
	}
	if (err != nil) != (got.Result == spf.TempError) {
		t.Errorf("error %v beside %s", err, got.Result)
	}
	// DEFAULT stands for the site's own explanation.
	if want := strings.TrimSuffix(c.Explanation, "DEFAULT"); c.Explanation != "" && got.Explanation != want {
		t.Errorf("explanation %q, want %q", got.Explanation, want)
	}
}
