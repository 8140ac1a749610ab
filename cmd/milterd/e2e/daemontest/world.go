package daemontest

import (
	"fmt"
	"strings"
	"time"
)

// World is the zone of most tests. Clients are on loopback, where a test can connect from. Mail hosts are in 11/8, which
// milterd takes for routable and no test connects to.
const World = `
mx.test.                    MX    10 relay.mx.test.
mx.test.                    A     11.22.33.45
relay.mx.test.              A     11.22.33.45

good.client.test.           A     127.0.0.10
second.client.test.         A     127.0.0.10
alias.client.test.          CNAME good.client.test.
helofail.client.test.       A     127.0.0.10
helofail.client.test.       TXT   "v=spf1 ip4:11.1.1.1 -all"
10.0.0.127.in-addr.arpa.    PTR   good.client.test.
forged.client.test.         A     11.9.9.9
11.0.0.127.in-addr.arpa.    PTR   forged.client.test.
other.client.test.          A     11.3.3.3
six.client.test.            AAAA  ::1
six.client.test.            AAAA  2001:db8::7
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa. PTR six.client.test.
7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR six.client.test.

sender.test.                MX    10 mx.sender.test.
sender.test.                TXT   "v=spf1 ip4:127.0.0.10 -all"
mx.sender.test.             A     11.4.4.4
six.test.                   MX    10 mx.sender.test.
six.test.                   TXT   "v=spf1 ip6:::1 ip6:2001:db8::7 -all"
fail.test.                  MX    10 mx.sender.test.
fail.test.                  TXT   "v=spf1 ip4:11.1.1.1 -all exp=why.fail.test"
why.fail.test.              TXT   "%{c} is no server of %{d}"
evil.test.                  MX    10 mx.sender.test.
evil.test.                  TXT   "v=spf1 -all exp=why.evil.test"
why.evil.test.              TXT   "100%% bad\013\010250 2.0.0 fine\000\200 level=fatal msg=\"forged\""
nomail.test.                MX    10 mx.sender.test.
nomail.test.                TXT   "v=spf1 -all exp=why.fail.test"
_dmarc.reject.test.         TXT   "v=DMARC1; p=reject"
_dmarc.quarantine.test.     TXT   "v=DMARC1; p=quarantine"
_dmarc.monitor.test.        TXT   "v=DMARC1; p=none"
revoked._domainkey.sender.test. TXT "v=DKIM1; p="
wide.test.                  MX    10 mx.sender.test.
wide.test.                  TXT   "v=spf1 +all"
soft.test.                  MX    10 mx.sender.test.
soft.test.                  TXT   "v=spf1 ip4:11.1.1.1 ~all"
none.test.                  MX    10 mx.sender.test.
perm.test.                  MX    10 mx.sender.test.
perm.test.                  TXT   "v=spf1 nonsense:x -all"
temp.test.                  MX    10 mx.sender.test.
!SERVFAIL temp.test. TXT
nullmx.test.                MX    0 .
com.                        SOA   a.gtld-servers.net. nstld.verisign-grs.com. 1 1800 900 604800 900
bogus.test.                 MX    10 mx.bogus.test.
mx.bogus.test.              A     10.0.0.1

5.5.5.11.in-addr.arpa.      PTR   good5.client.test.
good5.client.test.          A     11.5.5.5
2.0.0.127.bl.test.          A     127.0.0.2
5.5.5.11.bl.test.           A     127.0.0.2
5.5.5.11.bl.test.           TXT   "see the bl.test page"
test.rhs.test.              A     127.0.0.2
listed.test.rhs.test.       A     127.0.0.2
listed.test.                MX    10 mx.sender.test.

6.6.6.11.in-addr.arpa.      PTR   11-6-6-6.dsl.isp.test.
11-6-6-6.dsl.isp.test.      A     11.6.6.6
denied.client.test.         A     127.0.0.10
denied.test.                MX    10 mx.sender.test.
young.com.                  MX    10 mx.sender.test.

callout.test.               MX    10 mx.callout.test.
mx.callout.test.            A     127.0.0.51
silent.test.                MX    10 mx.silent.test.
mx.silent.test.             A     127.0.0.52
refusing.test.              MX    10 mx.refusing.test.
mx.refusing.test.           A     127.0.0.53
`

// A client of World that passes every check with this HELO name, and a sender whose SPF record allows it.
const (
	GoodClient = "127.0.0.10"
	GoodHelo   = "good.client.test"
	GoodSender = "a@sender.test"
)

// Field is a header field: name and value, without the space after the colon.
type Field = [2]string

// GoodHeader returns the header section of a message that passes every check, with changes. A change replaces the field
// of that name or adds it; the value "-" removes the field.
func GoodHeader(changes ...Field) []Field {
	all := []Field{
		{"From", "Ann <a@sender.test>"},
		{"To", "alice@mx.test"},
		{"Subject", "hello"},
		{"Date", time.Now().Format(time.RFC1123Z)},
		{"Message-ID", fmt.Sprintf("<%d@sender.test>", time.Now().UnixNano())},
	}
	for _, c := range changes {
		kept, found := all[:0:0], false
		for _, f := range all {
			if f[0] == c[0] {
				found = true
				if c[1] == "-" {
					continue
				}
				f = c
			}
			kept = append(kept, f)
		}
		if !found {
			kept = append(kept, c)
		}
		all = kept
	}
	return all
}

// Message returns a message with a header section and a short body.
func Message(header []Field) string {
	var b strings.Builder
	for _, f := range header {
		b.WriteString(f[0] + ": " + f[1] + "\n")
	}
	b.WriteString("\nThe body.\n")
	return b.String()
}
