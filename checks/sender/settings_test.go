package sender_test

import (
	"testing"

	"milterd/checks/sender"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	good := sender.Info.Default.(sender.Settings)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if good.NewDomain != 0 || good.FirstSeen != 0 || good.RDAP != "" {
		t.Error("domain-new is not off by default")
	}
	for name, change := range map[string]func(*sender.Settings){
		"a negative age": func(c *sender.Settings) { c.NewDomain = -1 }, "a negative first_seen": func(c *sender.Settings) { c.FirstSeen = -1 },
		"a negative history": func(c *sender.Settings) { c.History = -1 }, "no window": func(c *sender.Settings) { c.HistoryWindow = 0 },
		"a first_seen of a year": func(c *sender.Settings) { c.FirstSeen = 365 * day }, "a server without scheme": func(c *sender.Settings) { c.RDAP = "rdap.example" },
		"a server of another protocol": func(c *sender.Settings) { c.RDAP = "ldap://rdap.example/" }, "a server with a query": func(c *sender.Settings) { c.RDAP = "https://rdap.example/?q=" },
		"no server": func(c *sender.Settings) { c.RDAP = "https:///" }, "no URL": func(c *sender.Settings) { c.RDAP = "https://[" },
	} {
		c := good
		if change(&c); c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, server := range []string{"https://rdap.example", "http://127.0.0.1:8080/rdap/", "https://[::1]/"} {
		c := good
		if c.RDAP = server; c.Validate() != nil {
			t.Errorf("%s is not accepted", server)
		}
	}
}
