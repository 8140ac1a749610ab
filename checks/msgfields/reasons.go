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
		When:  "the Date field has no date at all, or an impossible value: 31 February, 25:00, a zone outside -1200..+1400",
		Why: "The Date field of the message is not a date, or one that does not exist. Mail programs write it correctly; programs " +
			"that send spam often do not.",
		Remedy: "Make the program that creates the message write the date as in \"Date: Sat, 21 Nov 2026 12:00:00 +0000\", with " +
			"English names and the zone as four digits.",
		Safe: checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	dateLax = &checks.Reason{
		ID:    "date-lax",
		Reply: reply("Date field \"{date}\" is not in the form of RFC 5322: {fault}"),
		When: "the Date field has a date that neither RFC 5322 section 3.3 nor 4.3 permits: no zone or an unknown one, the form of " +
			"asctime or ISO 8601, encoded-words, other names, orders and separators, or a wrong weekday; a one-digit hour passes",
		Why: "The Date field of the message is a date, but not in the form of RFC 5322 section 3.3. Mail programs may show another " +
			"time, or none.",
		Remedy: "Make the program that creates the message write the date as in \"Date: Sat, 21 Nov 2026 12:00:00 +0000\", with " +
			"English names and the zone as four digits.",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	dateFuture = &checks.Reason{
		ID:    "date-future",
		Reply: reply("Date field \"{date}\" is {ahead} in the future"),
		When:  "the date is more than `future` (24 h) ahead of the arrival",
		Why: "The Date field of the message is in the future, by more than a wrong time zone explains. Spam is dated so that it " +
			"stays at the top of the mailbox.",
		Remedy: "Correct the clock and the time zone of the computer that wrote the message, with NTP if possible, and send it again.",
		Safe:   checks.Greylist, Strict: checks.Reject,
	}
	datePast = &checks.Reason{
		ID:    "date-past",
		Reply: reply("Date field \"{date}\" is {age} in the past"),
		When: "the date is more than `past` (30 d) before the arrival, no Resent-Date is later (RFC 5322 section 3.6.6), and no " +
			"Received field shows that the message was on its way within 5 days of its date",
		Why: "The Date field of the message is longer ago than mail servers try to deliver a message, and no Received field explains " +
			"it. The clock of the sender is wrong, or an old message was sent again.",
		Remedy: "Correct the clock of the computer that wrote the message, with NTP if possible. To send an old message again, attach " +
			"it to a new one.",
		Safe: checks.Greylist, Strict: checks.Reject,
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
		When:  "the Message-ID has control characters, or over 998 octets",
		Why: "The Message-ID field has characters that are not allowed in any field, or is longer than a line may be (RFC 5322 section " +
			"2.1.1). Such an identifier damages logs and indexes.",
		Remedy: "Make the program that creates the message write one identifier in angle brackets, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	msgidLax = &checks.Reason{
		ID:    "msgid-lax",
		Reply: reply("Message-ID \"{message_id}\" is not in the form of RFC 5322: {fault}"),
		When: "the Message-ID is not one msg-id of RFC 5322 section 3.6.4 or 4.5.4: empty, no brackets, no @ or several, nothing on one " +
			"side of it, white space, text or a comma beside it, several ids; leading, trailing and double dots pass, and so does UTF-8",
		Why: "The Message-ID field does not have the form of RFC 5322 section 3.6.4, which is <left@right> without spaces. " +
			"Programs that send spam often get it wrong; so do a few others.",
		Remedy: "Make the program that creates the message write one identifier in angle brackets, such as " +
			"\"Message-ID: <20261121120000.4711@mail.example.net>\".",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
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
		Reply: reply("From field \"{from}\" has no address: {fault}"),
		When: "the From field has neither an address, plain or in encoded-words, nor one word in its place: it is free text, angle " +
			"brackets around something that is no address, or an empty group; a group with addresses, which RFC 6854 permits, passes",
		Why: "The From field has no address in the form of RFC 5322 section 3.6.2. It is not clear who wrote the message, and mail " +
			"programs may show different authors.",
		Remedy: "Write the author as in \"From: Jane Doe <jane@example.net>\".",
		Safe:   checks.Reject, Strict: checks.Reject, BounceWatch: true,
	}
	fromLax = &checks.Reason{
		ID:    "from-lax",
		Reply: reply("From field \"{from}\" is not in the form of RFC 5322: {fault}"),
		When: "the From field has an address and a display name that breaks RFC 5322 section 3.4 (specials or an address that are not " +
			"quoted, odd quotes, octets over 127), an address with stray dots or in encoded-words, or one word in place of the address",
		Why: "The From field has an address, but not in the form of RFC 5322 section 3.6.2, or a user without a domain. Mail programs " +
			"may show different authors.",
		Remedy: "Write the author as in \"From: Jane Doe <jane@example.net>\". A display name with @, commas, colons or " +
			"brackets in it must be in double quotes, one with other than US-ASCII characters encoded by RFC 2047.",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	fieldDuplicate = &checks.Reason{
		ID:    "field-duplicate",
		Reply: reply("the message has {count} {field} fields that differ, but at most one is allowed"),
		When: "there are several From, Sender, Date or Subject fields that differ after unfolding and joining white space, empty ones " +
			"aside",
		Why: "A field that may occur once in a message (RFC 5322 section 3.6) occurs several times. Mail programs and filters may " +
			"then read different ones, which forgers exploit.",
		Remedy: "Make the program that creates the message write the field once.",
		Safe:   checks.Reject, Strict: checks.Reject,
	}
	fieldRepeated = &checks.Reason{
		ID:    "field-repeated",
		Reply: reply("the message has {count} {field} fields, but at most one is allowed"),
		When: "there is more than one To, Cc, Bcc or Reply-To field, or a copy or an empty one of From, Sender, Date or Subject; " +
			"References, In-Reply-To, Message-ID and Return-Path may be repeated",
		Why: "A field that may occur once in a message (RFC 5322 section 3.6) occurs several times. Mail programs may show only one " +
			"of them.",
		Remedy: "Make the program that creates the message write the field once. Several addresses go into one field, separated by " +
			"commas.",
		Safe: checks.Watch, Strict: checks.Reject, BounceWatch: true,
	}
	fieldTooLong = &checks.Reason{
		ID:    "field-too-long",
		Reply: reply("a line of the {field} field has {length} octets, but at most 998 are allowed"),
		When:  "a line of the header is over 998 octets, CRLF not counted (RFC 5322 section 2.1.1)",
		Why: "A header line of the message is longer than RFC 5322 section 2.1.1 allows. Some mail servers cut or split " +
			"such lines, which damages the message or its signature.",
		Remedy: "Make the program that creates the message fold long fields: a line break before a space, after at most 78 characters.",
		Safe:   checks.Watch, Strict: checks.Watch,
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
