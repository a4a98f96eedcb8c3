package mux

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// Certificates are what sources with TLS show to clients, and want to see from them. Any
// goroutine may use them.
type Certificates struct {
	certFile, keyFile, clientCAFile string
	config                          atomic.Pointer[tls.Config]
}

// LoadCertificates reads a certificate, its key and, unless clientCAFile is "", the authorities
// of which a client has to have a certificate. All files are PEM; the first may have
// intermediate certificates behind the server's own.
func LoadCertificates(certFile, keyFile, clientCAFile string) (*Certificates, error) {
	c := &Certificates{certFile: certFile, keyFile: keyFile, clientCAFile: clientCAFile}
	return c, c.Reload()
}

// Reload reads the files again, for connections that are made from now on. After an error
// everything is as it was.
func (c *Certificates) Reload() error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load the certificate %s with the key %s: %w", c.certFile, c.keyFile, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		// A ticket would let in a client that the authorities of a later Reload do not know.
		SessionTicketsDisabled: true,
		// Short records are for web pages. Here, one means one packet more to be sent.
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
