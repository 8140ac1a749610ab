package msgfields

import "milterd/checks"

// reply returns a reply with the code of all reasons here. X.6.0 is for errors in the message, RFC 3463 section 3.7.
func reply(text string) checks.Reply { return checks.Reply{Code: 550, Enhanced: "5.6.0", Text: text} }

// The reasons, in order of precedence.
var (
	dateMissing = &checks.Reason{
		ID:    "date-missing",
		Reply: reply("the message has no Date field"),
		When:  "there is no Date field",
		Why: "The message does not say when it was written. RFC 5322 section 3.6 requires a Date field, and every mail program " +
			"writes one.",
		Remedy: "Make the program that creates the message write a Date field, such as \"Date: Sat, 21 Nov 2026 12:00:00 +0000\".",
		Safe:   checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	dateInvalid = &checks.Reason{
		ID:    "date-invalid",
		Reply: reply("Date field \"{date}\" is not valid: {fault}"),
		When: "the date has neither the form of RFC 5322 section 3.3 nor the obsolete one of section 4.3, has an impossible " +
			"value, or has a zone outside -1200..+1400; a one-digit hour passes",
		Why: "The Date field of the message is not a date in the form of RFC 5322 section 3.3. Mail programs write it " +
			"correctly; programs that send spam often do not.",
		Remedy: "Make the program that creates the message write the date as in \"Date: Sat, 21 Nov 2026 12:00:00 +0000\", with " +
			"English names and the zone as four digits.",
		Safe: checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	dateFuture = &checks.Reason{
		ID:    "date-future",
		Reply: reply("Date field \"{date}\" is {ahead} in the future"),
		When:  "the date is more than future (24 h) ahead of the arrival",
		Why: "The Date field of the message is in the future, by more than a wrong time zone explains. Spam is dated so that it " +
			"stays at the top of the mailbox.",
		Remedy: "Correct the clock and the time zone of the computer that wrote the message, with NTP if possible, and send it again.",
		Safe:   checks.Reject, Strict: checks.Reject,
	}
	datePast = &checks.Reason{
		ID:    "date-past",
		Reply: reply("Date field \"{date}\" is {age} in the past"),
		When:  "the date is more than past (30 d) before the arrival, and no Resent-Date is later (RFC 5322 section 3.6.6)",
		Why: "The Date field of the message is longer ago than mail servers try to deliver a message. The clock of the sender is " +
			"wrong, or an old message was sent again.",
		Remedy: "Correct the clock of the computer that wrote the message, with NTP if possible. To send an old message again, attach " +
			"it to a new one.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	msgidMissing = &checks.Reason{
		ID:    "msgid-missing",
		Reply: reply("the message has no Message-ID field"),
		When:  "there is no Message-ID field",
		Why: "The message has no identifier. RFC 5322 section 3.6.4 says that it should have one, by which replies, duplicates and " +
			"log lines are matched. Mail programs and mail servers write it.",
		Remedy: "Make the program that creates the message write a Message-ID field, unique for each message, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	msgidInvalid = &checks.Reason{
		ID:    "msgid-invalid",
		Reply: reply("Message-ID \"{message_id}\" is not valid: {fault}"),
		When: "the Message-ID is not one msg-id of RFC 5322 section 3.6.4 or 4.5.4; leading, trailing or double dots pass, and " +
			"so do UTF-8 and square brackets around all of it",
		Why: "The Message-ID field does not have the form of RFC 5322 section 3.6.4, which is <left@right> without spaces. " +
			"Programs that send spam often get it wrong.",
		Remedy: "Make the program that creates the message write one identifier in angle brackets, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	fromMissing = &checks.Reason{
		ID:    "from-missing",
		Reply: reply("the message has no From field"),
		When:  "there is no From field",
		Why: "The message does not say who wrote it. RFC 5322 section 3.6 requires a From field. Some mail servers remove a From " +
			"field that is empty.",
		Remedy: "Make the program that creates the message write a From field with the author's address.",
		Safe:   checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	fromInvalid = &checks.Reason{
		ID:    "from-invalid",
		Reply: reply("From field \"{from}\" is not valid: {fault}"),
		When:  "the From field is no mailbox list (RFC 5322 sections 3.6.2 and 4.4); a group, which RFC 6854 permits, passes",
		Why: "The From field is not a list of addresses in the form of RFC 5322 section 3.6.2. It is not clear who wrote the " +
			"message, and mail programs may show different authors.",
		Remedy: "Write the author as in \"From: Jane Doe <jane@example.net>\". A display name with @, commas, colons or " +
			"brackets in it must be in double quotes.",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	fieldDuplicate = &checks.Reason{
		ID:    "field-duplicate",
		Reply: reply("the message has {count} {field} fields, but at most one is allowed"),
		When:  "there is more than one Date, From, Sender, Reply-To, To, Cc, Bcc or Subject field",
		Why: "A field that may occur once in a message (RFC 5322 section 3.6) occurs several times. Mail programs and filters may " +
			"then read different ones, which forgers exploit.",
		Remedy: "Make the program that creates the message write the field once. Several addresses go into one field, separated by " +
			"commas.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
	fieldTooLong = &checks.Reason{
		ID:    "field-too-long",
		Reply: reply("a line of the {field} field has {length} octets, but at most 998 are allowed"),
		When:  "a line of the header is over 998 octets, CRLF not counted (RFC 5322 section 2.1.1)",
		Why: "A header line of the message is longer than RFC 5322 section 2.1.1 allows. Some mail servers cut or split " +
			"such lines, which damages the message or its signature.",
		Remedy: "Make the program that creates the message fold long fields: a line break before a space, after at most 78 characters.",
		Safe:   checks.Watch, Strict: checks.Reject,
	}
	field8bit = &checks.Reason{
		ID:    "field-8bit",
		Reply: reply("the {field} field has octets over 127 that are not encoded"),
		When: "a field has octets over 127 (SMTPUTF8 permits them, but a filter cannot see whether it was requested, so watch is " +
			"the most severe action allowed)",
		Why: "A header field has characters outside of US-ASCII that are not encoded. Without SMTPUTF8 they must be encoded (RFC " +
			"2047); otherwise they look different in each mail program.",
		Remedy: "Make the program that creates the message encode such characters by RFC 2047, as in \"=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\".",
		Safe:   checks.Watch, Strict: checks.Watch, Most: checks.Watch,
	}
	fieldSyntax = &checks.Reason{
		ID:    "field-syntax",
		Reply: reply("header field \"{field}\" is not valid: {fault}"),
		When:  "a field has an illegal name, a NUL or a bare CR",
		Why: "A header field of the message has a name that is not allowed, or octets that are not allowed in a header (RFC 5322 " +
			"section 2.2). Programs read such a message differently, which forgers exploit.",
		Remedy: "Make the program that creates the message write field names of printable US-ASCII characters without spaces, and " +
			"end lines with CR and LF together.",
		Safe: checks.Reject, Strict: checks.Reject,
	}
)
