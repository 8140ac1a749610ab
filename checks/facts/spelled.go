package facts

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// spelled reports whether a host name contains an address, as names do that networks give to whole pools:
// "dsl-192-0-2-7.example.net", "7.2.0.192.pool.example.net", "c0000207.example.net".
//
// The forms of an IPv4 address are: its four bytes in decimal, adjacent, in any order, with or without leading zeros; bytes
// of three digits also without separators; all four in order without separators, if these are seven digits or more; the
// last three bytes in decimal, in order or reversed; all four in hexadecimal, in order or reversed; one decimal number.
//
// The forms of an IPv6 address are: all 32 hexadecimal digits, in order or reversed; the last 16 digits (the interface
// identifier); the usual text with hyphens for colons.
func spelled(a netip.Addr, name string) bool {
	a = a.Unmap()
	name = strings.ToLower(name)
	switch {
	case a.Is4():
		return spelled4(a.As4(), name)
	case a.Is6():
		return spelled6(a, name)
	default:
		return false
	}
}

func spelled4(addr [4]byte, name string) bool {
	numbers, long := decimalNumbers(name)
	if len(long) > 0 {
		whole := strconv.FormatUint(uint64(binary.BigEndian.Uint32(addr[:])), 10)
		joined := strings.ReplaceAll(netip.AddrFrom4(addr).String(), ".", "")
		if slices.Contains(long, whole) || slices.Contains(long, joined) {
			return true
		}
	}
	var forward, sorted [4]int
	for i, b := range addr {
		forward[i], sorted[i] = int(b), int(b)
	}
	slices.Sort(sorted[:])
	backward := [3]int{forward[3], forward[2], forward[1]}
	for i := range numbers {
		if len(numbers) >= i+3 && (slices.Equal(numbers[i:i+3], forward[1:]) || slices.Equal(numbers[i:i+3], backward[:])) {
			return true
		}
		if len(numbers) >= i+4 {
			window := [4]int(numbers[i : i+4])
			slices.Sort(window[:])
			if window == sorted {
				return true
			}
		}
	}
	return spelledHex(addr, name)
}

// spelledHex reports whether a name contains the four bytes in hexadecimal, in order or reversed.
func spelledHex(addr [4]byte, name string) bool {
	var forward, backward [8]byte
	hex.Encode(forward[:], addr[:])
	hex.Encode(backward[:], []byte{addr[3], addr[2], addr[1], addr[0]})
	digits := withoutSeparators(name)
	return strings.Contains(digits, string(forward[:])) || strings.Contains(digits, string(backward[:]))
}

func spelled6(a netip.Addr, name string) bool {
	addr := a.As16()
	all := hex.EncodeToString(addr[:])
	reversed := []byte(all)
	slices.Reverse(reversed)
	digits := withoutSeparators(name)
	if strings.Contains(digits, all) || strings.Contains(digits, string(reversed)) {
		return true
	}
	// An interface identifier that begins with zeros was assigned by hand and is not unusual enough as a number.
	if addr[8] != 0 && addr[9] != 0 && strings.Contains(digits, all[16:]) {
		return true
	}
	return containsHex(name, strings.ReplaceAll(a.String(), ":", "-")) || containsHex(name, strings.Join(hexGroups(addr), "-"))
}

// hexGroups returns the groups of an IPv6 address without leading zeros.
func hexGroups(addr [16]byte) (groups []string) {
	for i := 0; i < len(addr); i += 2 {
		groups = append(groups, strconv.FormatUint(uint64(binary.BigEndian.Uint16(addr[i:])), 16))
	}
	return groups
}

// notByte stands in the result of decimalNumbers for a number over 255.
const notByte = 256

// decimalNumbers returns the decimal numbers in a name, in order. A number of 6, 9 or 12 digits counts as 2, 3 or 4 numbers of
// three digits. long has the numbers of 7 to 12 digits as they are, which may be whole addresses.
func decimalNumbers(name string) (numbers []int, long []string) {
	for digits := range strings.FieldsFuncSeq(name, func(c rune) bool { return c < '0' || c > '9' }) {
		if len(digits) >= 7 && len(digits) <= 12 {
			long = append(long, digits)
		}
		switch {
		case len(digits) <= 3:
			numbers = append(numbers, parseByte(digits))
		case len(digits)%3 == 0 && len(digits) <= 12:
			for j := 0; j < len(digits); j += 3 {
				numbers = append(numbers, parseByte(digits[j:j+3]))
			}
		default:
			numbers = append(numbers, notByte)
		}
	}
	return numbers, long
}

func isDecimal(c byte) bool { return c >= '0' && c <= '9' }

// parseByte parses up to three digits.
func parseByte(digits string) int {
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil {
		return notByte
	}
	return int(n)
}

// withoutSeparators removes dots, hyphens and underscores.
func withoutSeparators(name string) string {
	return strings.Map(func(r rune) rune {
		if isSeparator(r) {
			return -1
		}
		return r
	}, name)
}

// containsHex reports whether a name contains hexadecimal digits with no other digit before or after them.
func containsHex(name, digits string) bool {
	isHex := func(c byte) bool { return isDecimal(c) || c >= 'a' && c <= 'f' }
	for at := 0; ; at++ {
		i := strings.Index(name[at:], digits)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(digits)
		if (at == 0 || !isHex(name[at-1])) && (end == len(name) || !isHex(name[end])) {
			return true
		}
	}
}
