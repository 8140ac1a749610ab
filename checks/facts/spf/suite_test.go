package spf_test

import (
	"context"
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

// spfScenario is one document of the RFC 7208 test suite, which lies in the module of blitiri.com.ar/go/spf.
type spfScenario struct {
	Description string
	Tests       map[string]spfCase
	ZoneData    map[string][]map[string]spfValues `yaml:"zonedata"`
}

type spfCase struct {
	Helo        string
	Host        string
	MailFrom    string `yaml:"mailfrom"`
	Result      spfValues
	Explanation string
}

// spfValues is a value or a list of values.
type spfValues []string

func (v *spfValues) UnmarshalYAML(n *yaml.Node) error {
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

func readSPFSuite(t testing.TB, file string) []spfScenario {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Fatalf("where is the module with the test suite? %v", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []spfScenario
	for d := yaml.NewDecoder(f); ; {
		var s spfScenario
		switch err := d.Decode(&s); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		}
		out = append(out, s)
	}
}

// suiteDNS answers as the suite wants it: types that are not listed for a name with TIMEOUT fail, and what is listed as
// the obsolete type SPF is a TXT record, unless the name has TXT records too ("NONE" is one that is not).
type suiteDNS struct {
	records map[string][]dns.RR
	fails   map[string]bool
}

func newSuiteDNS(t testing.TB, zone map[string][]map[string]spfValues) *suiteDNS {
	t.Helper()
	d := &suiteDNS{map[string][]dns.RR{}, map[string]bool{}}
	for raw, entries := range zone {
		name := masterName(raw)
		hasTXT := slices.ContainsFunc(entries, func(e map[string]spfValues) bool { return e["TXT"] != nil })
		d.records[name] = []dns.RR{}
		for _, entry := range entries {
			for kind, v := range entry {
				switch kind {
				case "TIMEOUT", "SERVFAIL", "CNAMELOOP":
					d.fails[name] = true
				default:
					if rr := suiteRecord(t, name, kind, v, hasTXT); rr != nil {
						d.records[name] = append(d.records[name], rr)
					}
				}
			}
		}
	}
	return d
}

func suiteRecord(t testing.TB, name, kind string, v spfValues, hasTXT bool) dns.RR {
	t.Helper()
	h := dns.RR_Header{Name: name, Class: dns.ClassINET, Rrtype: dns.StringToType[kind]}
	switch kind {
	case "SPF", "TXT":
		if kind == "SPF" && hasTXT || slices.Equal(v, spfValues{"NONE"}) {
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
		t.Fatalf("%s: what is %s?", name, kind)
		return nil
	}
}

// masterName is what miekg/dns makes of a name from the wire.
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

// masterText is what miekg/dns makes of a character-string from the wire.
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

func (d *suiteDNS) Lookup(ctx context.Context, q checks.Question) (checks.Answer, error) {
	var a checks.Answer
	name := q.Name
	for range 8 {
		all, known := d.records[name]
		a.NXDomain = !known
		var alias *dns.CNAME
		for _, rr := range all {
			if c, ok := rr.(*dns.CNAME); ok {
				alias = c
			}
			if rr.Header().Rrtype == q.Type {
				a.Records = append(a.Records, rr)
				alias = nil
			}
		}
		if alias == nil {
			if len(a.Records) == 0 && d.fails[name] {
				return checks.Answer{}, errors.New("dns: time-out")
			}
			return a, ctx.Err()
		}
		a.Records = append(a.Records, alias)
		name = alias.Target
	}
	return checks.Answer{}, errors.New("dns: CNAME loop")
}

// subject returns the subject of a case. The suite has reverse-paths that no SMTP parser takes.
func (c spfCase) subject() spf.Subject {
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

// spfSuiteCases is how many cases each file has, so that none gets lost.
var spfSuiteCases = map[string]int{
	"rfc7208-tests.yml":    203,
	"blitirispf-tests.yml": 83,
}

// otherwise is what we say of cases of blitiri's own that RFC 7208 has otherwise: its evaluation takes names of one label, but
// sections 4.3 and 5.2 have no policy for them, and a permerror for who includes one. And with a failing reverse DNS beside
// ptr, a fail is a temperror with us.
func (c spfCase) otherwise(name string) []string {
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

func TestSPFSuite(t *testing.T) {
	t.Parallel()
	for file, want := range spfSuiteCases {
		cases, explained := 0, 0
		for _, sc := range readSPFSuite(t, file) {
			resolver := newSuiteDNS(t, sc.ZoneData)
			for name, c := range sc.Tests {
				cases++
				if c.Explanation != "" {
					explained++
				}
				t.Run(file+"/"+name, func(t *testing.T) {
					if file == "blitirispf-tests.yml" {
						c.Result = c.otherwise(name)
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

func (c spfCase) run(t *testing.T, r checks.Resolver) {
	got, err := spf.CheckHost(t.Context(), r, c.subject())
	if !slices.Contains(c.Result, string(got.Result)) {
		t.Errorf("result %s, want %v (%+v)", got.Result, c.Result, got)
	}
	if (err != nil) != (got.Result == spf.TempError) {
		t.Errorf("error %v beside %s", err, got.Result)
	}
	// DEFAULT is what a site says of its own if the domain gives no explanation.
	if want := strings.TrimSuffix(c.Explanation, "DEFAULT"); c.Explanation != "" && got.Explanation != want {
		t.Errorf("explanation %q, want %q", got.Explanation, want)
	}
}
