package facts

import (
	"cmp"
	"encoding/hex"
	"net/netip"
	"strings"

	"milterd/checks"
)

// IsPoolName reports whether a host name is one that networks give to the addresses of a pool: it spells the address, or looks
// dynamically assigned (DynamicWord with the built-in words). Such a name does not show who uses the address now, so it
// never vouches for a client.
func IsPoolName(a netip.Addr, name string) bool {
	return spelled(a, name) || DynamicWord(a, name, nil) != ""
}

type poolKey struct{ name string }

// ClientPoolName reports whether a name in ClientNames is a pool name, see IsPoolName, and remembers it for the connection: three
// checks need it for each message (5 percent of the CPU time in the benchmark hot10 without this). It is not for names that
// the client sends, which may be any number.
func ClientPoolName(r *checks.Request, name string) bool {
	is, _ := checks.Remember(r, checks.Connect, poolKey{name: name}, func() (bool, error) { return IsPoolName(r.Client, name), nil })
	return is
}

// DynamicWord returns the pool word for which a host name looks dynamically assigned, or "". The labels below the
// organisational domain must have both a part of the address and a pool word between dots and hyphens. Pool words are the
// built-in ones and those of more, which are lower case without digits at the ends. With a word of static lines or servers,
// such as "static", "vps" or "smtp", the name does not look dynamically assigned.
//
// A name with the address in an access zone of a large provider looks dynamically assigned without a pool word.
//
// A word alone is not enough, as companies have such names: "dialpad", "pool-supplies". A part of the address alone is not
// enough either, as mail services number their hosts by address. The organisational domain is not examined, as its owner may
// be called broadband.example.
func DynamicWord(a netip.Addr, name string, more map[string]bool) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	below, ok := strings.CutSuffix(name, "."+checks.OrgDomain(name))
	if !ok {
		return ""
	}
	found := ""
	for part := range strings.FieldsFuncSeq(below, isSeparator) {
		word := strings.Trim(part, "0123456789") // "ppp91", "hsd1"
		switch {
		case staticWords[word]:
			return ""
		case found == "" && (poolWords[word] || more[word]):
			found = word
		}
	}
	if found == "" {
		found = accessZone(name)
	}
	if found == "" || !spelled(a, below) && !partSpelled(a, below) {
		return ""
	}
	return found
}

// isSeparator reports whether a character separates the words and numbers of a host name.
func isSeparator(r rune) bool { return r == '.' || r == '-' || r == '_' }

// poolWords are words for access lines with assigned addresses, in the languages in which they were seen. Words that are
// common in the names of servers too (host, ip, net, node, nat) are not among them.
var poolWords = wordSet(`
	dyn dynamic dynamicip dynip dyndsl dinamic dinamica dinamico dynamique dynamisch dhcp pool pools dip ipt range subnet
	ppp pppoe pppoa ras bras lns radius dial dialin dialup isdn
	dsl adsl xdsl vdsl hdsl dslb wline lightspeed
	cable modem cablemodem modemcable docsis hfc catv cm cpe
	broadband bband broad bb bbcust hsd hsi hsia triband
	ftth fttb fttx fttc gpon fiber fibre fios
	mobile gprs umts gsm lte wimax wireless wifi cgn cgnat
	res residential retail home priv access abo
	cust customer customers client clients cliente clientes clienti dclient user users subscriber subscribers`)

// accessZones are the zones in which large providers name access lines by their addresses, without a pool word. Names of fixed
// lines and servers there have a static word, or do not have their addresses.
var accessZones = wordSet(`
	qwest.net frontiernet.net bchsia.telus.net
	as13285.net threembb.co.uk dab.02.net
	versanet.de supernova.orange.pl net.upcbroadband.cz spectrumnet.bg
	rev.sfr.net rev.numericable.fr
	virtua.com.br speedy.com.ar
	bbtec.net eonet.ne.jp rev.home.ne.jp
	rev.optusnet.com.au jetstream.xtra.co.nz
	red.bezeqint.net inter.net.il tedata.net`)

// accessZone returns the access zone that a lower-case name is in, or "".
func accessZone(name string) string {
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return ""
		}
		if accessZones[parent] {
			return parent
		}
		name = parent
	}
}

// staticWords are words for fixed lines, rented machines and mail hosts.
var staticWords = wordSet(`
	static staticip stat sta fixed fix fixe fixedip fijo fija fixo estatico estatica statique statisch sdsl
	business biz corp corporate corporativo dedicated dedicado dedi
	server servers srv vps vserver rootserver colo colocation hosting hosted cloud compute
	mail mailer mailout smtp smtpout mta mx mxout outbound relay newsletter bulk`)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		set[w] = true
	}
	return set
}

// partSpelled reports whether a lower-case name has a part of an address that, with a pool word, makes it a pool name. For
// IPv4 it is the first two or the last two bytes in decimal, adjacent and in either order, or the first three in hexadecimal.
// For IPv6 it is the first or the last 64 bits, as four numbers or as 16 digits.
func partSpelled(a netip.Addr, name string) bool {
	a = a.Unmap()
	switch {
	case a.Is4():
		return partSpelled4(a.As4(), name)
	case a.Is6():
		return partSpelled6(a.As16(), name)
	default:
		return false
	}
}

func partSpelled4(addr [4]byte, name string) bool {
	numbers, _ := decimalNumbers(name)
	for i := range len(numbers) - 1 {
		for _, pair := range [][2]byte{{addr[0], addr[1]}, {addr[1], addr[0]}, {addr[2], addr[3]}, {addr[3], addr[2]}} {
			if numbers[i] == int(pair[0]) && numbers[i+1] == int(pair[1]) {
				return true
			}
		}
	}
	return containsHex(name, hex.EncodeToString(addr[:3]))
}

func partSpelled6(addr [16]byte, name string) bool {
	if strings.Contains(withoutSeparators(name), hex.EncodeToString(addr[:8])) {
		return true
	}
	parts := strings.FieldsFunc(name, isSeparator)
	for i, part := range parts {
		if len(part) <= 4 {
			parts[i] = cmp.Or(strings.TrimLeft(part, "0"), "0")
		}
	}
	text := "-" + strings.Join(parts, "-") + "-"
	has := func(groups []string) bool { return strings.Contains(text, "-"+strings.Join(groups, "-")+"-") }
	groups := hexGroups(addr)
	// As in spelled6, an interface identifier that begins with zeros was assigned by hand.
	return has(groups[:4]) || groups[4] != "0" && has(groups[4:])
}
