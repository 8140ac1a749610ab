package main

import (
	"fmt"
	"time"
)

const (
	heldShare = 5  // of so many idle connections, there is one with a message in flight
	heldHosts = 90 // the first hosts, none of which has a fault: their messages are not refused before the body
)

// held are connections that stay open.
type held struct {
	name    string
	n       int
	message bool // each has a signed message, of whose body 256 KiB were sent
}

// heldCost is the cost of held connections.
type heldCost struct {
	filter string
	memory float64 // bytes per connection
}

// hold opens connections, sends HELO on each, and maybe the beginning of a message, and leaves them open.
func (b *bench) hold(programs []string, h held) ([]heldCost, error) {
	stop, err := b.start(programs)
	if err != nil {
		return nil, err
	}
	defer stop()
	l, err := load{body: bodyOf(256 << 10)}.sign(0, heldHosts)
	if err != nil {
		return nil, err
	}
	var list []heldCost
	for _, f := range b.filters {
		before, err := f.rss()
		if err != nil {
			return nil, err
		}
		l.socket = f.socket
		conns := make([]client, h.n)
		for i := range conns {
			c := &conns[i]
			c.load, c.tally = l, new(tally)
			c.open(i % heldHosts)
			if h.message {
				c.begin(i%heldHosts, i)
			}
			if c.err != nil {
				return nil, fmt.Errorf("%s: connection %d: %w", f.name, i, c.err)
			}
		}
		time.Sleep(time.Second)
		after, err := f.rss()
		if err != nil {
			return nil, err
		}
		for i := range conns {
			conns[i].m.Quit()
		}
		list = append(list, heldCost{filter: f.name, memory: float64(after-before) / float64(h.n)})
	}
	return list, nil
}
