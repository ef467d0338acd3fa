package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates are PEM texts, and files of those that a client needs.
type certificates struct {
	ca, serverCert, serverKey             string
	caFile, clientCertFile, clientKeyFile string
}

// newCertificates makes an authority, a server certificate for localhost and a client certificate for the user postgres.
func newCertificates(t testing.TB) certificates {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	issue := func(tmpl, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, string, string) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if parent == nil {
			parent, parentKey = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
		check(err)
		cert, err := x509.ParseCertificate(der)
		check(err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		check(err)
		encode := func(kind string, der []byte) string {
			return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		}
		return cert, key, encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER)
	}
	ca, caKey, caPEM, _ := issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pgtest authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	_, _, serverCert, serverKey := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, caKey)
	_, _, clientCert, clientKey := issue(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "postgres"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca, caKey)

	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		check(os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	return certificates{
		ca: caPEM, serverCert: serverCert, serverKey: serverKey,
		caFile:         write("ca.crt", caPEM),
		clientCertFile: write("client.crt", clientCert),
		clientKeyFile:  write("client.key", clientKey),
	}
}
