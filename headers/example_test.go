package headers_test

import (
	"errors"
	"fmt"

	"milterd/headers"
)

func ExampleParseDate() {
	date, err := headers.ParseDate(" Fri, 21 Nov 97 9:55:06 EST (a note)")
	fmt.Println(date.Time, err)

	_, err = headers.ParseDate(" Fri, 21 Nov 1997 25:55:06 -0600")
	fmt.Println(err)
	// Output:
	// 1997-11-21 09:55:06 -0500 -0500 <nil>
	// octet 19: hour 25 is over 23
}

// A check gives a lax fault a reason of its own, which a site may watch instead of enforce.
func ExampleParsePath() {
	for _, s := range []string{"<@relay.example:Alice@MX.Example>", "", "a..b@example.org", "a@example..org"} {
		path, err := headers.ParsePath(s)
		var fault *headers.SyntaxError
		switch {
		case err == nil:
			fmt.Printf("%q: fine, domain %q\n", path, path.Domain)
		case errors.As(err, &fault) && fault.Lax:
			fmt.Printf("%q: sender-syntax-lax, domain %q; %v\n", path, path.Domain, err)
		default:
			fmt.Printf("sender-syntax; %v\n", err)
		}
	}
	// Output:
	// "Alice@MX.Example": fine, domain "MX.Example"
	// "": fine, domain ""
	// "\"a..b\"@example.org": sender-syntax-lax, domain "example.org"; octet 3: stray dot in the local part
	// sender-syntax; octet 11: stray dot in the domain
}

func ExampleParseMailboxList() {
	list, err := headers.ParseMailboxList(` "Doe, John" <jdoe@example.org>, Staff: a@example.net;`)
	fmt.Printf("%+v %v\n", list, err)
	// Output:
	// [{Name:Doe, John Local:jdoe Domain:example.org} {Name: Local:a Domain:example.net}] <nil>
}
