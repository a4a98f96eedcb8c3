package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// steps returns the sh blocks of a document.
func steps(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	must.Do(t, err)
	var steps []string
	for _, block := range strings.Split(string(text), "\n```sh\n")[1:] {
		step, _, ended := strings.Cut(block, "\n```\n")
		if !ended {
			t.Fatalf("%s: a block does not end: %s", file, block)
		}
		steps = append(steps, step)
	}
	return steps
}

// TestExposing executes docs/exposing.md step by step, with other addresses and directories.
func TestExposing(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here")
	}
	p := newPlace(t)
	door, readers := freePort(t), freePort(t)
	ours := strings.NewReplacer("/var/lib/kivaloo", p.path("d"), "/run/kivaloo", string(p),
		"0.0.0.0:9000", door, "0.0.0.0:9001", readers,
		"DNS:db.example.org", "IP:127.0.0.1", "db.example.org:9000", strings.NewReplacer("[", "", "]", "").Replace(door))
	do := func(step string) string {
		t.Helper()
		cmd := exec.Command("sh", "-e", "-c", ours.Replace(step))
		cmd.Dir = string(p)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(daemontest.Program("kivaloo-mux"))+":"+os.Getenv("PATH"))
		r := daemontest.RunCommand(t, cmd)
		if r.Status != 0 {
			t.Fatalf("status %v:\n%s\n%s", r.Status, step, r.Output)
		}
		return r.Output
	}
	all := steps(t, "../../docs/exposing.md")
	if len(all) != 8 {
		t.Fatalf("the document has %d steps that are commands, this test expects 8", len(all))
	}
	authority, server, client, mux, look, program, reload, readOnly := all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7]

	serve := exec.Command(daemontest.Program("kivaloo"), "serve", "--dir", p.path("d"))
	daemontest.Foreground(t, serve)
	must.Eventually(t, "the store is there", func() bool { return !absent(p.path("d/kivaloo.sock")) })
	do(authority)
	do(server)
	do(client)
	do(mux)
	daemontest.Take(t, p.path("mux.pid"))
	if said := do(look); !strings.Contains(said, "Verification: OK") || strings.Contains(said, "alert") {
		t.Errorf("a look from a client's machine: %s", said)
	}
	do(program)
	config := clientConfig(t, p)
	mustServe(t, overTLS(t, door, config))
	stranger := config.Clone()
	stranger.Certificates = nil
	if err := overTLS(t, door, stranger).Set("key", "value"); err == nil {
		t.Error("a client without a certificate is served")
	}

	before := serial(t, door, config)
	do(server)
	do(reload)
	must.Eventually(t, "the new certificate is in use", func() bool { return serial(t, door, config) != before })

	do(readOnly)
	daemontest.Take(t, p.path("readers.pid"))
	reader := overTLS(t, readers, config)
	if value, err := reader.Get("served"); err != nil || string(value) != "yes" {
		t.Errorf("a reader got %q, %v", value, err)
	}
	if err := reader.Set("key", "value"); !wiretest.Lost(err) {
		t.Errorf("a reader's SET: %v", err)
	}
}

// clientConfig returns the TLS configuration of the program in the document's sixth step.
func clientConfig(t *testing.T, p place) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(p.path("client.pem"), p.path("client.key"))
	must.Do(t, err)
	ca, err := os.ReadFile(p.path("ca.pem"))
	must.Do(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1"}
}

// serial returns the serial number of a server's certificate.
func serial(t *testing.T, addr string, config *tls.Config) string {
	t.Helper()
	c := overTLS(t, addr, config)
	mustServe(t, c)
	return fmt.Sprint(c.Conn.Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber)
}
