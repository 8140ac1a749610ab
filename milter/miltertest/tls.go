package miltertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"
)

// writeCertificate makes a self-signed certificate for mx.test. Sendmail reads the certificate and its key from two files,
// Postfix from one with the key first. Sendmail trusts the certificate as an authority, so it also authenticates clients.
func writeCertificate(t testing.TB, cert, key, both string) tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mx.test"},
		DNSNames:     []string{"mx.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	must(t, os.WriteFile(cert, certPEM, 0o644))
	must(t, os.WriteFile(key, keyPEM, 0o600))
	must(t, os.WriteFile(both, append(keyPEM, certPEM...), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}
