package facts

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Spelled tells whether a host name has the address in it, as the names have that networks make for whole pools:
// "dsl-192-0-2-7.example.net", "7.2.0.192.pool.example.net", "c0000207.example.net". The name may be in any case.
//
// For IPv4 that is: the four octets in decimal one after the other, in any order, each group with or without leading
// zeros, several of three digits also without anything between; all of them in their order without anything between, if
// that makes seven digits or more; the last three of them in their order or reversed; all of them in hexadecimal in either
// order; the address as one decimal number. For IPv6: all 32 nibbles, in either order, the last 16 of them (the interface
// identifier), or the usual text with hyphens for colons. Dots, hyphens and underscores within hexadecimal digits are
// skipped.
func Spelled(a netip.Addr, name string) bool {
	a = a.Unmap().WithZone("")
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

func spelled4(octets [4]byte, name string) bool {
	groups, numbers := decimalGroups(name)
	one := strconv.FormatUint(uint64(binary.BigEndian.Uint32(octets[:])), 10)
	joined := strings.ReplaceAll(netip.AddrFrom4(octets).String(), ".", "")
	if slices.Contains(numbers, one) || slices.Contains(numbers, joined) {
		return true
	}
	var forward, sorted [4]int
	for i, o := range octets {
		forward[i], sorted[i] = int(o), int(o)
	}
	slices.Sort(sorted[:])
	backward := [3]int{forward[3], forward[2], forward[1]}
	for i := range groups {
		if len(groups) >= i+3 && (slices.Equal(groups[i:i+3], forward[1:]) || slices.Equal(groups[i:i+3], backward[:])) {
			return true
		}
		if len(groups) >= i+4 {
			window := [4]int(groups[i : i+4])
			slices.Sort(window[:])
			if window == sorted {
				return true
			}
		}
	}
	digits := squeeze(name)
	reversed := [4]byte{octets[3], octets[2], octets[1], octets[0]}
	return strings.Contains(digits, hex.EncodeToString(octets[:])) || strings.Contains(digits, hex.EncodeToString(reversed[:]))
}

// noOctet stands in decimalGroups for a number that is none.
const noOctet = 256

// decimalGroups returns the decimal numbers in a name in their order: as octets, a number of 6, 9 or 12 digits as so many
// of three, and those of 7 to 12 digits as they are, which may be a whole address.
func decimalGroups(name string) (octets []int, numbers []string) {
	for i := 0; i < len(name); {
		if !isDecimal(name[i]) {
			i++
			continue
		}
		start := i
		for i < len(name) && isDecimal(name[i]) {
			i++
		}
		run := name[start:i]
		if len(run) >= 7 && len(run) <= 12 {
			numbers = append(numbers, run)
		}
		switch {
		case len(run) <= 3:
			octets = append(octets, octet(run))
		case len(run)%3 == 0 && len(run) <= 12:
			for j := 0; j < len(run); j += 3 {
				octets = append(octets, octet(run[j:j+3]))
			}
		default:
			octets = append(octets, noOctet)
		}
	}
	return octets, numbers
}

func isDecimal(c byte) bool { return c >= '0' && c <= '9' }

// octet reads up to three digits.
func octet(digits string) int {
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil {
		return noOctet
	}
	return int(n)
}

// squeeze takes away what stands between digits.
func squeeze(name string) string {
	out := make([]byte, 0, len(name))
	for i := range len(name) {
		if c := name[i]; c != '.' && c != '-' && c != '_' {
			out = append(out, c)
		}
	}
	return string(out)
}

func spelled6(a netip.Addr, name string) bool {
	octets := a.As16()
	all := hex.EncodeToString(octets[:])
	nibbles := []byte(all)
	slices.Reverse(nibbles)
	digits := squeeze(name)
	if strings.Contains(digits, all) || strings.Contains(digits, string(nibbles)) {
		return true
	}
	// An interface identifier that begins with zeros was given by hand, and other numbers look like it.
	if octets[8] != 0 && octets[9] != 0 && strings.Contains(digits, all[16:]) {
		return true
	}
	var groups []string
	for i := 0; i < len(octets); i += 2 {
		groups = append(groups, strconv.FormatUint(uint64(binary.BigEndian.Uint16(octets[i:])), 16))
	}
	return containsWord(name, strings.ReplaceAll(a.String(), ":", "-")) || containsWord(name, strings.Join(groups, "-"))
}

// containsWord tells whether word stands in name with no other hexadecimal digit before or after it.
func containsWord(name, word string) bool {
	isHex := func(c byte) bool { return isDecimal(c) || c >= 'a' && c <= 'f' }
	for at := 0; ; at++ {
		i := strings.Index(name[at:], word)
		if i < 0 {
			return false
		}
		at += i
		end := at + len(word)
		if (at == 0 || !isHex(name[at-1])) && (end == len(name) || !isHex(name[end])) {
			return true
		}
	}
}
