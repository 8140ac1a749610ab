package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"
)

// bodyOf returns the text of a body of a number of bytes.
func bodyOf(size int) string {
	const line = "A line of text as it is in a letter, with a line end at the end of it.\r\n"
	return strings.Repeat(line, size/len(line)+1)[:size]
}

var date = time.Now().Format(time.RFC1123Z)

func senderOf(host int) string { return fmt.Sprintf("user%d@%s", host%7, domainOf(host)) }

// fields returns the header fields of the messages of a host.
func (l load) fields(host int) [][2]string {
	domain, to := domainOf(host), fmt.Sprintf("user%d@site.example", host%500)
	var list [][2]string
	if l.signatures != nil {
		list = append(list, [2]string{"DKIM-Signature", l.signatures[host]})
	}
	list = append(list, [][2]string{
		{"Received", " from mail." + domain + " by relay." + domain + " with ESMTPS id 4Q\n\tfor <" + to + ">; " + date},
		{"From", " A User <" + senderOf(host) + ">"}, {"To", " " + to}, {"Subject", " the figures of this quarter"}, {"Date", " " + date},
		{"Message-ID", " <20261121.4Q@" + domain + ">"}, {"MIME-Version", " 1.0"}, {"Content-Type", " text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", " 7bit"}, {"User-Agent", " Mozilla Thunderbird"},
	}...)
	for range 10 {
		list = append(list, [2]string{"X-Filler", " the quick brown fox jumps over the lazy dog, as it always did"})
	}
	return list
}

// selector is that of all signatures.
const selector = "s1"

// signingKey is the key of all hosts.
var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // no randomness
	}
	return key
})

// keyRecord is the key record of all hosts, in the format of zone files.
var keyRecord = sync.OnceValue(func() string {
	der, err := x509.MarshalPKIXPublicKey(signingKey().Public())
	if err != nil {
		panic(err) // a bug of this program
	}
	text := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
	return fmt.Sprintf("TXT %q %q", text[:200], text[200:])
})

// sign returns the load with signatures for the messages of some hosts. Signing takes more time than verifying, so it is done
// before the load runs.
func (l load) sign(first, n int) (load, error) {
	values, faults := make([]string, n), make([]error, n)
	var wg sync.WaitGroup
	for part := range workers {
		wg.Go(func() {
			for i := part; i < n; i += workers {
				values[i], faults[i] = l.signature(first + i)
			}
		})
	}
	wg.Wait()
	l.signatures = make(map[int]string, n)
	for i, value := range values {
		if faults[i] != nil {
			return l, faults[i]
		}
		l.signatures[first+i] = value
	}
	return l, nil
}

// workers is the number of goroutines that sign. With half of it, some processors would idle on larger machines.
const workers = 8

// signature returns the value of the DKIM-Signature field of the messages of a host.
func (l load) signature(host int) (string, error) {
	var message strings.Builder
	for _, f := range l.fields(host) {
		message.WriteString(f[0] + ":" + strings.ReplaceAll(f[1], "\n", "\r\n") + "\r\n")
	}
	message.WriteString("\r\n" + l.body)
	var signed strings.Builder
	err := dkim.Sign(&signed, strings.NewReader(message.String()), &dkim.SignOptions{
		Domain: domainOf(host), Selector: selector, Signer: signingKey(),
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"},
	})
	if err != nil {
		return "", err
	}
	field := strings.TrimSuffix(signed.String(), message.String())
	return strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(field, "DKIM-Signature:")), "\r\n", "\n"), nil
}
