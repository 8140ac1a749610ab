package facts

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PoolName tells whether a host name is one that networks make for the addresses of a pool: it spells the address (Spelled),
// or looks dynamically assigned (DynamicWord, with the built-in words). Such a name says nothing about who sits behind it
// today, so it must never vouch: not as a client's identity, not as a sender's, not in an allow zone, not in an allow list.
func PoolName(a netip.Addr, name string) bool {
	return Spelled(a, name) || DynamicWord(a, name, nil) != ""
}

// DynamicWord returns the word for which a host name looks dynamically assigned, or nothing if it does not. The labels below
// the organisational domain must have both a part of the address and, between their dots and hyphens, a pool word: a built-in
// one or one of more (lower case, without digits at its ends). A word of static lines or of servers beside them, such as
// "static", "vps" or "smtp", means that it does not look so.
//
// Neither is enough alone: "dialpad" and "pool-supplies" are companies, and mail services number their hosts by address. The
// organisational domain is never looked at, so that it costs nobody his mail to be called broadband.example.
func DynamicWord(a netip.Addr, name string, more map[string]bool) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	below, ok := strings.CutSuffix(name, "."+OrgDomain(name))
	if !ok {
		return ""
	}
	found := ""
	for part := range strings.FieldsFuncSeq(below, isSeparator) {
		word := strings.Trim(part, "0123456789") // "ppp91", "hsd1"
		switch {
		case settledWords[word]:
			return ""
		case found == "" && (poolWords[word] || more[word]):
			found = word
		}
	}
	if found == "" || !Spelled(a, below) && !spelledInPart(a, below) {
		return ""
	}
	return found
}

// isSeparator tells what stands between the words and numbers of a host name.
func isSeparator(r rune) bool { return r == '.' || r == '-' || r == '_' }

// poolWords are those that networks put into the names of access lines whose addresses they hand out, in the languages in which
// they were seen. Words that servers have in their names too (host, ip, net, node, nat) are none.
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

// settledWords are those of fixed lines, rented machines and mail hosts.
var settledWords = wordSet(`
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

// spelledInPart tells whether a name has enough of the address to go with a pool word. For IPv4 that is the first two or the last
// two octets in decimal one after the other, in either order, or the first three in hexadecimal; for IPv6 the first 64 bits or
// the last, as four numbers or as 16 digits.
func spelledInPart(a netip.Addr, name string) bool {
	a = a.Unmap().WithZone("")
	name = strings.ToLower(name)
	switch {
	case a.Is4():
		return partSpelled4(a.As4(), name)
	case a.Is6():
		return partSpelled6(a.As16(), name)
	default:
		return false
	}
}

func partSpelled4(o [4]byte, name string) bool {
	groups, _ := decimalGroups(name)
	for i := range len(groups) - 1 {
		for _, pair := range [][2]byte{{o[0], o[1]}, {o[1], o[0]}, {o[2], o[3]}, {o[3], o[2]}} {
			if groups[i] == int(pair[0]) && groups[i+1] == int(pair[1]) {
				return true
			}
		}
	}
	return containsWord(name, hex.EncodeToString(o[:3]))
}

func partSpelled6(octets [16]byte, name string) bool {
	digits, all := squeeze(name), hex.EncodeToString(octets[:])
	if strings.Contains(digits, all[:16]) {
		return true
	}
	var groups [8]int
	for i := range groups {
		groups[i] = int(octets[2*i])<<8 | int(octets[2*i+1])
	}
	var numbers []int
	for part := range strings.FieldsFuncSeq(name, isSeparator) {
		n, err := strconv.ParseUint(part, 16, 16)
		if err != nil || len(part) > 4 {
			numbers = append(numbers, -1) // as no group is
			continue
		}
		numbers = append(numbers, int(n))
	}
	for i := range len(numbers) - 3 {
		four := numbers[i : i+4]
		// As in Spelled, an interface identifier that begins with zeros was given by hand.
		if slices.Equal(four, groups[:4]) || groups[4] != 0 && slices.Equal(four, groups[4:]) {
			return true
		}
	}
	return false
}
