package mux

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// Certificates are what sources with TLS show to clients and require of them. They are safe for
// concurrent use.
type Certificates struct {
	certFile, keyFile, clientCAFile string
	config                          atomic.Pointer[tls.Config]
}

// LoadCertificates reads a certificate and its key. Unless clientCAFile is "", it also reads the
// authorities that must have issued the clients' certificates. All files are PEM. The first may
// have intermediate certificates after the server's own.
func LoadCertificates(certFile, keyFile, clientCAFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile, clientCAFile: clientCAFile}
	return c, c.Reload()
}

// Reload reads the files again, for new connections. After an error nothing has changed.
func (c *Certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load the certificate %s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		// A ticket would admit a client that the authorities of a later Reload do not know.
		SessionTicketsDisabled: true,
		// Short records are for web pages. Here each one would cost another packet.
		DynamicRecordSizingDisabled: true,
	}
	if c.clientCAFile != "" {
		pem, err := os.ReadFile(c.clientCAFile)
		if err != nil {
			return fmt.Errorf("load the authorities of client certificates: %w", err)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("load the authorities of client certificates: there is no certificate in %s", c.clientCAFile)
		}
	}
	c.config.Store(config)
	return nil
}
