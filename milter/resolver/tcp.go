package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// tcp asks over a new TCP connection (RFC 7766). Truncated answers are too rare to keep one open.
func (u *upstreams) tcp(ctx context.Context, s *server, q *query) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	select {
	case u.tcpSlots <- struct{}{}:
		defer func() { <-u.tcpSlots }()
	case <-ctx.Done():
		return nil, errTCPTimeout
	}
	u.stats.tcp.Add(1)
	packet, err := s.stream(ctx, q)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errTCPTimeout
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	m, err := q.parse(packet)
	if errors.Is(err, errTruncated) {
		return nil, fmt.Errorf("%w: truncated over TCP", errMalformed)
	}
	return m, err
}

// stream sends a query over a new connection and reads packets until one matches.
func (s *server) stream(ctx context.Context, q *query) ([]byte, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.name)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	q.setRandomID()
	framed := dns.Conn{Conn: conn}
	if _, err := framed.Write(q.packet); err != nil {
		return nil, err
	}
	for {
		packet, err := framed.ReadMsgHeader(nil)
		if err != nil {
			return nil, err
		}
		if q.matches(packet) {
			return packet, nil
		}
		s.stats.misfits.Add(1)
	}
}
