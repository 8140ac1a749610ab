package config

import "testing"

// TestSize tests the texts of sizes, and that a size is written as it was read.
func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]byteSize{
		"0": 0, "1": 1, "1000": 1000, "1K": 1024, "64k": 64 << 10, "512M": 512 << 20, "2G": 2 << 30, "8589934591G": 8589934591 << 30,
	} {
		var s byteSize
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: got %d, %v", text, s, err)
		}
		written, err := s.MarshalText()
		var again byteSize
		if err != nil || again.UnmarshalText(written) != nil || again != s {
			t.Errorf("%s: written as %s, %v", text, written, err)
		}
	}
	for _, text := range []string{"", "M", "-1", "1.5G", "1T", "1 M", "1MB", "0x10", "+1", "1_0", "8589934592G", "9223372036854775808"} {
		var s byteSize
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d", text, s)
		}
	}
}
