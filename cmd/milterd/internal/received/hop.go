package received

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"milterd/headers"
)

// hop is the content of a Received field. Fields that it does not have are empty.
type hop struct {
	by            string     // host that added the field
	client        netip.Addr // never an IPv4-mapped IPv6 address
	clientName    string     // as the host looked it up
	helo          string
	protocol      string // upper case, such as "ESMTPSA"
	user          string // authenticated user
	authenticated bool   // even if the user is not known
	handover      bool   // not received by SMTP from another host, but submitted, passed on within the site, or fetched from a mailbox
	id            string // queue id
	to            string // recipient
	from          string // reverse-path
	hasFrom       bool   // from is known, and may be the null reverse-path
	time          time.Time
}

// parseReceived parses the value of a Received field. MTAs write more forms than RFC 5321 section 4.4 has:
//
//	from HELO (NAME [ADDRESS])               Postfix, Sendmail, Gmail, OpenSMTPD, Courier, Haraka
//	from HELO ([ADDRESS])                    Sendmail and Gmail without a name; Microsoft SMTPSVC
//	from NAME ([ADDRESS] helo=HELO)          Exim; without helo= it equals the name
//	from [ADDRESS] (helo=HELO)               Exim without a name
//	from NAME (HELO HELO) (USER@ADDRESS)     qmail; without (HELO ...) it equals the name
//	from HELO (ADDRESS)                      Exchange
//
// ok is false if the value has none of the clauses that a Received field must have.
func parseReceived(value string) (h hop, ok bool) {
	c, date := splitClauses(value)
	d, _ := headers.ParseDate(date) // zero if it cannot be read
	h.time = d.Time
	h.by = strings.TrimSuffix(c.word("by"), ".")
	h.protocol = protocol(c.clause("with").words)
	h.id = strings.Trim(c.word("id"), "<>")
	if to := strings.Trim(c.word("for"), "<>"); strings.Contains(to, "@") {
		h.to = to
	}
	h.from, h.hasFrom = envelopeFrom(c)
	h.user, h.authenticated = authentication(c, h.protocol)
	if c["from"] != nil {
		h.setClient(c)
	}
	h.handover = isHandover(h, c)
	return h, h.by != "" || c["invoked"] != nil
}

// protocol returns the protocol of a "with" clause, one of RFC 3848 for example. qmail writes the cipher
// before it, Exchange several words.
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

// envelopeFrom returns the reverse-path. Exim and Sendmail write it into a comment, Haraka between the clauses.
func envelopeFrom(c clauses) (from string, ok bool) {
	for _, name := range keywords {
		lists := [][]string{c.clause(name).words}
		for _, text := range c.clause(name).comments {
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

// authentication returns the user of SMTP AUTH, if it is known, and whether there was one: the protocol says
// so (RFC 3848; old Exim writes ASMTP), or a comment of Postfix ("Authenticated sender: bob"), Sendmail
// ("authenticated bits=0") or Courier ("AUTH: LOGIN bob").
func authentication(c clauses, protocol string) (user string, ok bool) {
	ok = protocol == "ASMTP" || strings.HasSuffix(protocol, "MTPA") || strings.HasSuffix(protocol, "MTPSA")
	for _, text := range c.clause("from").comments {
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

// notSMTP are the beginnings of protocols by which programs of a site submit, pass on, and fetch messages.
var notSMTP = [...]string{"LOCAL", "LMTP", "MAPI", "HTTP", "POP", "IMAP"}

// isHandover reports whether a message was not received by SMTP from another host.
func isHandover(h hop, c clauses) bool {
	if slices.ContainsFunc(notSMTP[:], func(start string) bool { return strings.HasPrefix(h.protocol, start) }) {
		return true
	}
	if h.client.IsValid() {
		return false
	}
	pickup := func(text string) bool { return strings.Contains(text, "from userid") } // Postfix
	return c["from"] == nil || c["invoked"] != nil || slices.ContainsFunc(c.clause("by").comments, pickup) ||
		strings.HasPrefix(strings.Join(c.clause("from").words, " "), "mail pickup service")
}

// isLastHop reports whether a host received the message from another host by SMTP.
func (h hop) isLastHop() bool {
	local := h.client.IsLoopback() || !h.client.IsValid() && strings.EqualFold(h.helo, "localhost")
	return !h.handover && !local
}

// setClient sets the address and the names of the client.
func (h *hop) setClient(c clauses) {
	info := clientComments(c.clause("from").comments)
	name := c.word("from")
	h.client = info.addr
	if !h.client.IsValid() { // "[ADDRESS]" of Exim, "NAME [ADDRESS]" of old Exim and others
		for i, w := range c.clause("from").words {
			if a := parseLiteral(w); a.IsValid() && !h.client.IsValid() {
				h.client = a
				if i == 0 {
					name = ""
				}
			}
		}
	}
	microsoft := strings.HasPrefix(h.protocol, "MICROSOFT")
	switch {
	case info.helo != "":
		h.helo, h.clientName = info.helo, name
	case c.isExim(), info.addr.IsValid() && !info.bracketed && !microsoft: // Exim, qmail
		h.helo, h.clientName = name, name
		if isUnknown(name) {
			h.helo = "" // qmail knows no name
		}
	default:
		h.helo, h.clientName = name, info.name
	}
	h.clientName = strings.TrimSuffix(h.clientName, ".") // Gmail
	if isUnknown(h.clientName) || !h.client.IsValid() || parseAddr(h.clientName).IsValid() {
		h.clientName = ""
	}
	if h.protocol == "MAPI" {
		h.helo = ""
	}
}

func isUnknown(name string) bool {
	return strings.EqualFold(name, "unknown") || strings.EqualFold(name, "unverified")
}

// clientInfo is what the comments of the from clause have about the client.
type clientInfo struct {
	addr      netip.Addr
	bracketed bool // addr is in brackets
	name      string
	helo      string
}

// clientComments returns the first address and the first HELO name of the comments.
func clientComments(comments []string) clientInfo {
	var info clientInfo
	for _, text := range comments {
		i := parseClientComment(text)
		if !info.addr.IsValid() && i.addr.IsValid() {
			info.addr, info.name, info.bracketed = i.addr, i.name, i.bracketed
		}
		info.helo = cmp.Or(info.helo, i.helo)
	}
	return info
}

// parseClientComment parses a comment: "name [192.0.2.9]", "name[192.0.2.9]", "[192.0.2.9]:25 helo=name ident=x",
// "user@192.0.2.9", "192.0.2.9", "HELO name", or another one that says nothing about the client.
func parseClientComment(text string) clientInfo {
	var info clientInfo
	words := strings.Fields(text)
	if len(words) > 1 && (strings.EqualFold(words[0], "HELO") || strings.EqualFold(words[0], "EHLO")) {
		return clientInfo{helo: words[1]}
	}
	for n, w := range words {
		if helo, ok := strings.CutPrefix(w, "helo="); ok {
			info.helo = helo
			continue
		}
		if info.addr.IsValid() {
			continue
		}
		if bracket := strings.IndexByte(w, '['); bracket >= 0 {
			info.addr = parseLiteral(w[bracket:])
			info.bracketed = info.addr.IsValid()
			if bracket > 0 {
				info.name = w[:bracket]
			}
		} else if n == 0 {
			info.name = w[strings.LastIndexByte(w, '@')+1:] // qmail writes the user of RFC 1413 before it
			if info.addr = parseAddr(info.name); info.addr.IsValid() {
				info.name = ""
			}
		}
	}
	if !info.addr.IsValid() {
		info.name = ""
	}
	return info
}

// parseLiteral parses an address in brackets, which a port may follow. The result is invalid if it is none.
func parseLiteral(s string) netip.Addr {
	s, begins := strings.CutPrefix(s, "[")
	s, _, ends := strings.Cut(s, "]")
	if !begins || !ends {
		return netip.Addr{}
	}
	return parseAddr(s)
}

// parseAddr parses an address. The result is invalid if it is none.
func parseAddr(s string) netip.Addr {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	a, _ := netip.ParseAddr(s) // with an error it is invalid
	return a.Unmap().WithZone("")
}
