package msgfields

import "milterd/checks"

// reply is the reply of every reason here: RFC 3463 has X.6.0 for faults of the message itself.
func reply(text string) checks.Reply { return checks.Reply{Code: 550, Enhanced: "5.6.0", Text: text} }

// The reasons, in order of precedence.
var (
	dateMissing = &checks.Reason{
		ID:    "date-missing",
		Reply: reply("the message has no Date field"),
		When:  "there is no Date field",
		Why: "The message does not say when it was written. RFC 5322 section 3.6 makes the Date field a must, and every mail " +
			"program writes one.",
		Remedy: "Let the program that makes the message write a Date field, such as \"Date: Sat, 21 Nov 2026 12:00:00 +0000\".",
		Safe:   checks.Watch, Strict: checks.Reject,
	}
	dateInvalid = &checks.Reason{
		ID:    "date-invalid",
		Reply: reply("Date field \"{date}\" is not valid: {fault}"),
		When: "the date has neither the form of RFC 5322 section 3.3 nor the obsolete one of section 4.3, has an impossible " +
			"value, or a zone outside -1200..+1400; a one-digit hour passes",
		Why: "The Date field of the message is not a date in the form of RFC 5322 section 3.3. Mail programs get this right; " +
			"programs made for spam often do not.",
		Remedy: "Let the program that makes the message write the date as in \"Date: Sat, 21 Nov 2026 12:00:00 +0000\", with " +
			"English names and the zone as four digits.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	dateFuture = &checks.Reason{
		ID:    "date-future",
		Reply: reply("Date field \"{date}\" is {ahead} in the future"),
		When:  "the date is more than future (24 h) ahead of the arrival",
		Why: "The Date field of the message lies in the future, by more than wrong time zones explain. Spam is dated so to stay " +
			"on top of the mailbox.",
		Remedy: "Set the clock and the time zone of the computer that wrote the message, best by NTP, and send it again.",
		Safe:   checks.Reject, Strict: checks.Reject,
	}
	datePast = &checks.Reason{
		ID:    "date-past",
		Reply: reply("Date field \"{date}\" is {age} in the past"),
		When:  "the date is more than past (30 d) before the arrival, and no Resent-Date is later (RFC 5322 section 3.6.6)",
		Why: "The Date field of the message is older than any mail server tries to deliver a message. The clock of the sender " +
			"is wrong, or an old message is sent again.",
		Remedy: "Set the clock of the computer that wrote the message, best by NTP. To send an old message again, forward it as " +
			"an attachment of a new one.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	msgidMissing = &checks.Reason{
		ID:    "msgid-missing",
		Reply: reply("the message has no Message-ID field"),
		When:  "there is no Message-ID field",
		Why: "The message has no identifier. RFC 5322 section 3.6.4 says that it should have one, so that answers, duplicates " +
			"and log lines can be matched; mail programs and mail servers write it.",
		Remedy: "Let the program that makes the message write a Message-ID field, unique for each message, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Watch, Strict: checks.Reject,
	}
	msgidInvalid = &checks.Reason{
		ID:    "msgid-invalid",
		Reply: reply("Message-ID \"{message_id}\" is not valid: {fault}"),
		When: "the Message-ID is not one msg-id of RFC 5322 section 3.6.4 or 4.5.4; leading, trailing or double dots pass, and " +
			"so do UTF-8 and square brackets around all of it",
		Why: "The Message-ID field does not have the form of RFC 5322 section 3.6.4, which is <left@right> without spaces. " +
			"Programs made for spam often get it wrong.",
		Remedy: "Let the program that makes the message write one identifier in angle brackets, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	fromMissing = &checks.Reason{
		ID:    "from-missing",
		Reply: reply("the message has no From field"),
		When:  "there is no From field",
		Why: "The message does not say who wrote it. RFC 5322 section 3.6 makes the From field a must. Some servers also drop a " +
			"From field that is empty.",
		Remedy: "Let the program that makes the message write a From field with the author's address.",
		Safe:   checks.Reject, Strict: checks.Reject,
	}
	fromInvalid = &checks.Reason{
		ID:    "from-invalid",
		Reply: reply("From field \"{from}\" is not valid: {fault}"),
		When: "the From field is no mailbox list (RFC 5322 sections 3.6.2 and 4.4); a group passes, which RFC 6854 permits " +
			"there",
		Why: "The From field is not a list of addresses in the form of RFC 5322 section 3.6.2, so it is not clear who wrote the " +
			"message, and mail programs may show different authors.",
		Remedy: "Write the author as in \"From: Jane Doe <jane@example.net>\". A display name with @, commas, colons or " +
			"brackets in it must be in double quotes.",
		Safe: checks.Watch, Strict: checks.Reject,
	}
	fieldDuplicate = &checks.Reason{
		ID:    "field-duplicate",
		Reply: reply("the message has {count} {field} fields, one is the most"),
		When:  "there is more than one Date, From, Sender, Reply-To, To, Cc, Bcc or Subject field",
		Why: "A field that may stand once in a message (RFC 5322 section 3.6) stands there several times. Mail programs and " +
			"filters then see different messages, which forgers use.",
		Remedy: "Let the program that makes the message write the field once; several addresses go into one field, with commas " +
			"between.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	fieldTooLong = &checks.Reason{
		ID:    "field-too-long",
		Reply: reply("a line of the {field} field has {length} octets, 998 is the most"),
		When:  "a line of the header is over 998 octets, CRLF not counted (RFC 5322 section 2.1.1)",
		Why: "A header line of the message is longer than RFC 5322 section 2.1.1 allows. Some mail servers cut such lines or " +
			"break them at any place, which destroys the message or its signature.",
		Remedy: "Let the program that makes the message fold long fields: a line break before a space, after at most 78 characters.",
		Safe:   checks.Watch, Strict: checks.Reject,
	}
	field8bit = &checks.Reason{
		ID:    "field-8bit",
		Reply: reply("the {field} field has octets over 127 that are not encoded"),
		When: "a field has octets over 127 (whether SMTPUTF8 was asked for, which permits them, a filter cannot see: so watch is " +
			"the most it can be set to)",
		Why: "A header field has characters outside US-ASCII as they are. Without SMTPUTF8 they must be encoded (RFC 2047), or " +
			"they look different in each mail program.",
		Remedy: "Let the program that makes the message encode such characters by RFC 2047, as in \"=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\".",
		Safe:   checks.Watch, Strict: checks.Watch, Most: checks.Watch,
	}
	fieldSyntax = &checks.Reason{
		ID:    "field-syntax",
		Reply: reply("header field \"{field}\" is not valid: {fault}"),
		When:  "a field has an illegal name, a NUL or a bare CR",
		Why: "A header field of the message has a name that no field can have, or octets that no header may have (RFC 5322 " +
			"section 2.2). Programs disagree about what such a message says, which forgers use.",
		Remedy: "Let the program that makes the message write field names of printable US-ASCII characters without spaces, and " +
			"end lines with CR and LF together.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
)
