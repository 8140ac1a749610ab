package milter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"

	gomilter "github.com/emersion/go-milter"

	"milterd/checks"
)

// symbols are the macros that milterd asks for, by stage. Of those of the connection, checks.Trusted reads {daemon_name}, records read
// v, and no check reads more than the address yet; but a check finds them all in Session.Macros. A list replaces the MTA's own list for
// that stage. Sendmail ignores a list for EOM unless there is one for EOH.
var symbols = []struct {
	stage gomilter.Stage
	names string
}{
	{gomilter.StageConnect, "j v _ {daemon_name} {client_addr} {client_name} {client_ptr} {client_resolve} {client_port}"},
	{gomilter.StageHelo, "{tls_version}"},
	{gomilter.StageMailFrom, "i {auth_authen}"},
	{gomilter.StageRcptTo, "i {rcpt_mailer} {rcpt_host} {rcpt_addr}"},
	{gomilter.StageEOH, "i"},
}

// Versions of the protocol. The MTAs honour the flags of later versions than the filter's, but do not send it later events.
const (
	protocolVersion = 2 // of go-milter
	dataVersion     = 4 // the first with the event DATA
)

// wanted returns the protocol flags to ask for: the MTA sends what a check needs, and awaits no response where it is
// always "continue". The header section is answered at the end of the message: the client sends the body in any case,
// and the MTA waits only once. The flags include both about DATA, see withData.
func wanted(p *checks.Pipeline, full bool) gomilter.OptProtocol {
	if full {
		return gomilter.OptNoHelo | gomilter.OptNoMailFrom | gomilter.OptNoRcptTo | gomilter.OptNoHeaders |
			gomilter.OptNoEOH | gomilter.OptNoBody | gomilter.OptNoUnknown | gomilter.OptNoData
	}
	want := gomilter.OptNoUnknown | gomilter.OptNoData | gomilter.OptNoDataReply |
		gomilter.OptNoConnReply | gomilter.OptNoHeloReply | gomilter.OptNoHeaderReply | gomilter.OptNoEOHReply |
		gomilter.OptRcptRej | gomilter.OptHeaderLeadingSpace
	if p.NeedsBody() {
		want |= gomilter.OptNoBodyReply
	} else {
		want |= gomilter.OptNoBody
	}
	if !p.RepliesAt(checks.MailFrom) {
		want |= gomilter.OptNoMailReply
	}
	if !p.RunsAny() && !p.TraceFields().Any() {
		want |= gomilter.OptNoHeaders | gomilter.OptNoEOH
	}
	return want
}

// withData returns the version and the flags to negotiate, with one of the two flags about DATA. It asks for DATA, which shows that an
// ABORT is no RSET, if the MTA offers version 4 and need not wait for a response. That version also has the event UNKNOWN, which
// go-milter does not know, so the MTA must be able to leave it out.
func withData(offered uint32, protocol gomilter.OptProtocol) (version uint32, chosen gomilter.OptProtocol) {
	const needed = gomilter.OptNoDataReply | gomilter.OptNoUnknown
	if offered >= dataVersion && protocol&needed == needed {
		return dataVersion, protocol &^ gomilter.OptNoData
	}
	return protocolVersion, protocol &^ gomilter.OptNoDataReply
}

// offerSize is the least length of the first packet of the MTA in bytes: its head, version, actions, protocol.
const offerSize = packetHead + 3*4

// readOffer reads the first packet, the MTA's side of the negotiation. The error is io.EOF if the MTA sends nothing, as a port
// scan or a health check.
func (c *conn) readOffer() (version uint32, actions gomilter.OptAction, protocol gomilter.OptProtocol, err error) {
	c.readWithin(cmp.Or(c.srv.packetTimeout, defaultPacketTimeout))
	if err := c.awaitInput(); err != nil {
		return 0, 0, 0, io.EOF
	}
	p, err := c.r.Peek(offerSize)
	switch {
	case len(p) == 0:
		return 0, 0, 0, io.EOF
	case err != nil:
		return 0, 0, 0, err
	}
	length := c.packetLength()
	if length < offerSize || length > 4+maxPacket || p[4] != byte(gomilter.CodeOptNeg) {
		return 0, 0, 0, errors.New("milter: the first packet is not an option negotiation")
	}
	version = binary.BigEndian.Uint32(p[packetHead:])
	actions = gomilter.OptAction(binary.BigEndian.Uint32(p[packetHead+4:]))
	protocol = gomilter.OptProtocol(binary.BigEndian.Uint32(p[packetHead+8:]))
	_, err = c.r.Discard(length)
	return version, actions, protocol, err
}

// begin negotiates. It answers the MTA's offer itself, as go-milter ignores the offer. It logs its error.
func (s *session) begin() error {
	offered, actions, protocol, err := s.conn.readOffer()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.srv.Log.WithError(err).WithField("mta", s.conn.RemoteAddr().String()).Warn("no milter negotiation")
		}
		return err
	}
	s.negotiated = true
	version, protocol := withData(offered, wanted(s.pipeline, s.conn.full)&protocol)
	s.protocol = protocol
	chosen := gomilter.OptSetSymList
	if !s.conn.full {
		chosen |= s.changeActions(actions)
	}
	return s.negotiate(version, actions&chosen)
}

// negotiate sends the response to the MTA's offer.
func (s *session) negotiate(version uint32, actions gomilter.OptAction) error {
	var data []byte
	for _, v := range []uint32{version, uint32(actions), uint32(s.protocol)} {
		data = binary.BigEndian.AppendUint32(data, v)
	}
	if actions&gomilter.OptSetSymList != 0 {
		for _, list := range symbols {
			data = binary.BigEndian.AppendUint32(data, uint32(list.stage))
			data = append(append(data, list.names...), 0)
		}
	}
	return s.send(byte(gomilter.CodeOptNeg), string(data))
}
