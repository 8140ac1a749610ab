// Package received reads what mail servers have written into a stored message about its way (RFC 5321 section 4.4), so that the SMTP
// session in which it came can be made up again: who the client was, what it said, when.
package received

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/headers"
)

// Hop is what one Received field says. What it does not say is empty.
type Hop struct {
	By         string     // host that wrote it
	Client     netip.Addr // never an IPv4-mapped IPv6 address
	ClientName string     // as the host found it; empty: none or not known
	Helo       string
	With       string // protocol in upper case, such as ESMTPSA
	User       string // who authenticated
	Auth       bool   // the client authenticated, perhaps as somebody not told
	Handover   bool   // no SMTP from another host: submitted on the host itself, or handed on within it or to a mail store
	ID         string // queue id
	For        string // address
	From       string // reverse-path
	HasFrom    bool   // From is told: it may be the null one
	Time       time.Time
}

// ParseReceived reads the value of a Received field. Mail servers write it in forms of their own, of which RFC 5321 knows few:
//
//	from HELO (NAME [ADDRESS])               Postfix, Sendmail, Gmail, OpenSMTPD, Courier, Haraka
//	from HELO ([ADDRESS])                    Sendmail, Gmail, without a name; Microsoft SMTPSVC
//	from NAME ([ADDRESS] helo=HELO)          Exim; without helo= it equals the name
//	from [ADDRESS] (helo=HELO)               Exim, without a name
//	from NAME (HELO HELO) (USER@ADDRESS)     qmail; without (HELO ...) it equals the name
//	from HELO (ADDRESS)                      Exchange
//
// It is false if the value makes no sense at all.
func ParseReceived(value string) (Hop, bool) {
	c, date := split(value)
	var h Hop
	if d, err := headers.ParseDate(date); err == nil {
		h.Time = d.Time
	}
	h.By = strings.TrimSuffix(c.word("by"), ".")
	h.With = protocol(c.words("with"))
	h.ID = strings.Trim(c.word("id"), "<>")
	if to := strings.Trim(c.word("for"), "<>"); strings.Contains(to, "@") {
		h.For = to
	}
	h.From, h.HasFrom = envelopeFrom(c)
	h.User, h.Auth = authenticated(c, h.With)
	if c["from"] != nil {
		readClient(&h, c)
	}
	h.Handover = handover(h, c)
	return h, h.By != "" || c["invoked"] != nil
}

// protocol is the word of RFC 3848 and its likes; qmail puts the cipher before it. What Exchange says has several.
func protocol(words []string) string {
	if n := len(words); n > 1 && strings.EqualFold(words[n-2], "encrypted") {
		words = words[n-1:]
	}
	if len(words) > 1 && strings.EqualFold(words[0], "Microsoft") {
		return strings.ToUpper(strings.Join(words, " "))
	}
	if len(words) == 0 {
		return ""
	}
	return strings.ToUpper(words[0])
}

// envelopeFrom is the reverse-path, which Exim and Sendmail put into a comment and Haraka between the clauses.
func envelopeFrom(c clauses) (string, bool) {
	for _, name := range [...]string{"from", "by", "with", "id", "for"} {
		lists := [][]string{c.words(name)}
		for _, text := range c.comments(name) {
			lists = append(lists, strings.Fields(text))
		}
		for _, words := range lists {
			if i := slices.Index(words, "envelope-from"); i >= 0 && i+1 < len(words) {
				return strings.Trim(words[i+1], "<>"), true
			}
		}
	}
	return "", false
}

// authenticated tells of SMTP AUTH: by the protocol (RFC 3848; ASMTP is old Exim's), or in the comments of Postfix
// ("Authenticated sender: bob"), Sendmail ("authenticated bits=0") and Courier ("AUTH: LOGIN bob").
func authenticated(c clauses, with string) (user string, ok bool) {
	switch {
	case with == "ASMTP":
		ok = true
	case strings.HasSuffix(with, "SMTPA"), strings.HasSuffix(with, "SMTPSA"), strings.HasSuffix(with, "LMTPA"), strings.HasSuffix(with, "LMTPSA"):
		ok = true
	}
	for _, text := range c.comments("from") {
		if name, found := strings.CutPrefix(text, "Authenticated sender: "); found {
			return strings.TrimSpace(name), true
		}
		words := strings.Fields(text)
		switch {
		case len(words) > 2 && words[0] == "AUTH:":
			return strings.TrimSuffix(words[2], ","), true
		case len(words) > 0 && words[0] == "authenticated":
			ok = true
		}
	}
	return "", ok
}

// handover tells whether a field is not about SMTP from another host.
func handover(h Hop, c clauses) bool {
	if h.Client.IsValid() {
		return false
	}
	pickup := func(text string) bool { return strings.Contains(text, "from userid") } // Postfix
	with := strings.ToLower(h.With)
	return c["from"] == nil || c["invoked"] != nil || slices.ContainsFunc(c.comments("by"), pickup) ||
		strings.HasPrefix(with, "local") || strings.HasPrefix(with, "lmtp") || with == "mapi" ||
		strings.HasPrefix(strings.Join(c.words("from"), " "), "mail pickup service")
}

// readClient reads the from clause.
func readClient(h *Hop, c clauses) {
	var info tcpInfo
	bracketed := false // the address of a comment is in brackets
	for _, text := range c.comments("from") {
		i := parseTCPInfo(text)
		if !info.addr.IsValid() && i.addr.IsValid() {
			info.addr, info.name, bracketed = i.addr, i.name, i.bracketed
		}
		if i.hasHelo && !info.hasHelo {
			info.helo, info.hasHelo = i.helo, true
		}
	}
	word := c.word("from")
	h.Client = info.addr
	if !h.Client.IsValid() { // "[ADDRESS]" of Exim, "NAME [ADDRESS]" of old Exim and others
		for i, w := range c.words("from") {
			if a := parseAddr(w, true); a.IsValid() && !h.Client.IsValid() {
				h.Client = a
				if i == 0 {
					word = ""
				}
			}
		}
	}
	microsoft := strings.HasPrefix(h.With, "MICROSOFT")
	switch {
	case info.hasHelo:
		h.Helo, h.ClientName = info.helo, word
	case c.by("Exim"), info.addr.IsValid() && !bracketed && !microsoft: // Exim, qmail
		h.Helo, h.ClientName = word, word
		if isUnknown(word) {
			h.Helo = "" // qmail's word for a name that it does not know
		}
	default:
		h.Helo, h.ClientName = word, info.name
	}
	h.ClientName = strings.TrimSuffix(h.ClientName, ".") // Gmail
	if isUnknown(h.ClientName) || !h.Client.IsValid() || parseAddr(h.ClientName, false).IsValid() {
		h.ClientName = ""
	}
	if h.With == "MAPI" {
		h.Helo = ""
	}
}

func isUnknown(name string) bool {
	return strings.EqualFold(name, "unknown") || strings.EqualFold(name, "unverified")
}
