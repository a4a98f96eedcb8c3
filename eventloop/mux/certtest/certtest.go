package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kivaloo/internal/must"
)

// Authority issues certificates, which are valid for an hour.
type Authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewAuthority creates an authority that nobody trusts yet.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.key, a.cert = a.make(&x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, nil)
	return a
}

// make creates a certificate, signed by the authority, or by itself if issuer is nil.
func (a *Authority) make(template, issuer *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must.Do(a.t, err)
	signer := a.key
	if issuer == nil {
		issuer, signer = template, key
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must.Do(a.t, err)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	must.Do(a.t, err)
	cert, err := x509.ParseCertificate(der)
	must.Do(a.t, err)
	return key, cert
}

// Issue creates a certificate for a server at 127.0.0.1, or for a client.
func (a *Authority) Issue(name string) tls.Certificate {
	a.t.Helper()
	key, cert := a.make(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// Pool returns a pool that trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Files are the files of a server, in PEM: its certificate, its key, and the authority of its
// clients.
type Files struct {
	t                   testing.TB
	Cert, Key, ClientCA string
}

// NewFiles returns names of files that do not exist yet.
func NewFiles(t testing.TB) *Files {
	dir := t.TempDir()
	return &Files{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
}

// Write writes all three.
func (f *Files) Write(c tls.Certificate, clients *Authority) {
	f.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must.Do(f.t, err)
	f.write(f.Cert, "CERTIFICATE", c.Certificate[0])
	f.write(f.Key, "PRIVATE KEY", key)
	f.write(f.ClientCA, "CERTIFICATE", clients.cert.Raw)
}

func (f *Files) write(path, kind string, der []byte) {
	f.t.Helper()
	must.Do(f.t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}
