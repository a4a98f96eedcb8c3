package connect

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kivaloo"
	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/number"
)

const (
	// DefaultTimeout is far above what a server takes, unless it is stuck.
	DefaultTimeout = 10 * time.Second

	minTimeout = 10 * time.Millisecond
	maxTimeout = 24 * time.Hour
)

// Environment describes the environment variables, for help.
const Environment = `The environment variables KIVALOO_TLS=1, KIVALOO_TLS_CA, KIVALOO_TLS_CERT,
KIVALOO_TLS_KEY, KIVALOO_TLS_SERVER_NAME and KIVALOO_TIMEOUT are defaults for the flags
of these names. A unix socket never uses TLS.`

// Options are the flags that say how to reach a server. The zero value means that no flags were
// given.
type Options struct {
	// AddressFlags names the flags with the address, for errors. The default is that of kivaloo.
	AddressFlags string

	// OnEvent is that of kivaloo.DialOptions.
	OnEvent func(kivaloo.ConnEvent)

	// Patient has Run wait however long a lost connection takes to be replaced.
	Patient bool

	timeout    time.Duration
	tls        bool
	ca         string
	cert       string
	key        string
	serverName string

	flags *pflag.FlagSet
}

// AddFlags adds the flags to a command.
func (o *Options) AddFlags(cmd *cobra.Command) {
	o.flags, o.timeout = cmd.Flags(), DefaultTimeout
	number.Duration(o.flags, &o.timeout, "timeout", "", minTimeout, maxTimeout, "how long the server may be silent ($KIVALOO_TIMEOUT)")
	o.flags.BoolVar(&o.tls, "tls", false, "connect with TLS; each of the following flags implies it ($KIVALOO_TLS)")
	for _, t := range o.texts() {
		commandline.Text(o.flags, t.to, t.flag, "", t.kind, t.usage+" ($"+t.variable+")")
		if t.kind != "FILE" {
			commandline.Complete(cmd, t.flag, cobra.NoFileCompletions)
		}
	}
}

func (o *Options) addressFlags() string { return cmp.Or(o.AddressFlags, "--addr or KIVALOO_ADDR") }

// text is a flag for text.
type text struct {
	to                          *string
	flag, variable, kind, usage string
}

func (o *Options) texts() []text {
	return []text{
		{&o.ca, "tls-ca", "KIVALOO_TLS_CA", "FILE", "trust servers with a certificate of these authorities, in PEM, instead of the system's"},
		{&o.cert, "tls-cert", "KIVALOO_TLS_CERT", "FILE", "show this certificate to the server, in PEM"},
		{&o.key, "tls-key", "KIVALOO_TLS_KEY", "FILE", "private key of --tls-cert, in PEM"},
		{&o.serverName, "tls-server-name", "KIVALOO_TLS_SERVER_NAME", "NAME", "name that the server's certificate must be for, if not that of its address"},
	}
}

// Timeout returns how long the server may be silent.
func (o *Options) Timeout() (time.Duration, error) {
	s := os.Getenv("KIVALOO_TIMEOUT")
	if s == "" || o.changed("timeout") {
		return cmp.Or(o.timeout, DefaultTimeout), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < minTimeout || d > maxTimeout {
		return 0, fmt.Errorf("KIVALOO_TIMEOUT: want a duration from %v to %v, not %q", minTimeout, maxTimeout, s)
	}
	return d, nil
}

func (o *Options) changed(flag string) bool { return o.flags != nil && o.flags.Changed(flag) }

// wanted reports whether to use TLS for a server at host:port, and whether flags ask for it.
func (o *Options) wanted() (want, byFlags bool, err error) {
	if o.changed("tls") {
		return o.tls, o.tls, nil
	}
	for _, t := range o.texts() {
		want = want || *t.to != "" || os.Getenv(t.variable) != ""
		byFlags = byFlags || *t.to != ""
	}
	if s := os.Getenv("KIVALOO_TLS"); s != "" && !byFlags {
		if want, err = strconv.ParseBool(s); err != nil {
			return false, false, fmt.Errorf("KIVALOO_TLS: want 1 or 0, not %q", s)
		}
	}
	return want, byFlags, nil
}

// TLS returns the TLS configuration, or nil if TLS is not wanted.
func (o *Options) TLS() (*tls.Config, error) {
	want, _, err := o.wanted()
	if !want || err != nil {
		return nil, err
	}
	given, source := map[string]string{}, map[string]string{} // value of each flag or of its variable, and the name it was given by
	for _, t := range o.texts() {
		if given[t.flag], source[t.flag] = *t.to, "--"+t.flag; *t.to == "" && os.Getenv(t.variable) != "" {
			given[t.flag], source[t.flag] = os.Getenv(t.variable), t.variable
		}
	}
	config := &tls.Config{ServerName: given["tls-server-name"]}
	if name := given["tls-ca"]; name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", source["tls-ca"], err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s %s: the file holds no certificate in PEM", source["tls-ca"], name)
		}
	}
	cert, key := given["tls-cert"], given["tls-key"]
	switch {
	case (cert == "") != (key == ""):
		return nil, fmt.Errorf("%s and %s need each other", source["tls-cert"], source["tls-key"])
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", source["tls-cert"], source["tls-key"], err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
