package why

import (
	"net/http"
	"net/netip"
	"net/url"

	"milterd/checks"
)

// openSPF is the content of a link in the form of openspf.org, which many sites use in the explanation of an SPF record:
// http://www.openspf.org/why.html?sender=...&ip=...&receiver=...
type openSPF struct {
	Sender, Domain string
	IP             netip.Addr
	Receiver       string // may be empty
}

// parseOpenSPF accepts valid names and addresses only, because the page shows them.
func parseOpenSPF(q url.Values) (*openSPF, bool) {
	a := checks.ParseAddress(q.Get("sender"))
	ip, err := netip.ParseAddr(q.Get("ip"))
	domain, ok := hostName(a.Domain)
	if !q.Has("sender") || err != nil || !ok {
		return nil, false
	}
	receiver, ok := hostName(q.Get("receiver"))
	if !ok {
		receiver = ""
	}
	const maxPath = 254 // bytes, RFC 5321 section 4.5.3.1.3
	return &openSPF{Sender: checks.Clean(a.Text, maxPath), Domain: domain, IP: ip.Unmap().WithZone(""), Receiver: receiver}, true
}

// openSPF serves the page for such a link.
func (p *pages) openSPF(w http.ResponseWriter, base string, spf *openSPF) {
	fail := p.reasons["spf-fail"]
	if fail == nil {
		p.missing(w)
		return
	}
	reason := p.texts.reason(fail, values{domain: spf.Domain, client: spf.IP, site: p.Site})
	p.write(w, http.StatusOK, view{
		Page: "openspf", Title: p.texts.Titles["openspf"], Base: base, Private: true, SPF: spf, Reason: &reason,
	})
}
