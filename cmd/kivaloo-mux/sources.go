package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"kivaloo/eventloop"
	"kivaloo/eventloop/mux"
	"kivaloo/wire"
)

// perSource has the values of an option by the name of the source. The value for "" applies to all
// other sources.
type perSource[T any] map[string]T

// set parses one argument of the option: value, or source=value. A source's name may contain an
// equals sign, a value may not.
func (o *perSource[T]) set(s string, parse func(string) (T, error)) error {
	source, value := "", s
	if i := strings.LastIndexByte(s, '='); i > 0 {
		source, value = s[:i], s[i+1:]
	}
	if _, twice := (*o)[source]; twice {
		return fmt.Errorf("%q: given already", s)
	}
	v, err := parse(value)
	if err != nil {
		return err
	}
	if *o == nil {
		*o = make(perSource[T])
	}
	(*o)[source] = v
	return nil
}

// check refuses values for unknown sources.
func (o perSource[T]) check(option string, sources []string) error {
	for source := range o {
		if source != "" && !slices.Contains(sources, source) {
			return fmt.Errorf("%s: there is no -s %s", option, source)
		}
	}
	return nil
}

// of returns the value for a source.
func (o perSource[T]) of(source string) (v T, ok bool) {
	if v, ok = o[source]; !ok {
		v, ok = o[""]
	}
	return v, ok
}

func (o *options) setAllow(s string) error { return o.allow.set(s, mux.ParseAllowed) }

func (o *options) setClients(s string) error {
	return o.clients.set(s, func(value string) (int, error) {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections {
			return 0, fmt.Errorf("%q is not a number from 1 to %d", value, maxConnections)
		}
		return n, nil
	})
}

// source is one -s.
type source struct {
	name  string
	addrs []wire.Addr
}

// resolve finds the addresses of all sources.
func (o *options) resolve(names []string) ([]source, error) {
	var sources []source
	var all []wire.Addr
	for _, name := range names {
		addrs, err := wire.ResolveAddr(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{name, addrs})
		all = append(all, addrs...)
	}
	return sources, wire.CheckDistinct(all)
}

// certificates loads the files named by the options. It returns nil if they name none.
func (o *options) certificates(sources []source) (*mux.Certificates, error) {
	if o.cert == "" {
		return nil, nil
	}
	if !slices.ContainsFunc(sources, source.tcp) {
		return nil, errors.New("--tls-cert is for sources that are TCP addresses, and there is none")
	}
	return mux.LoadCertificates(o.cert, o.key, o.clientCA)
}

func (s source) tcp() bool { return s.addrs[0].Network == "tcp" }

// listen binds all addresses of all sources, and accepts clients from them. TCP sources use TLS if
// there are certificates. All sources share the returned gate.
func (o *options) listen(m *mux.Mux, sources []source, certs *mux.Certificates, log *slog.Logger) (*eventloop.Gate, error) {
	total := o.connections
	if total == 0 {
		total = eventloop.Descriptors()
		if certs != nil {
			total /= mux.TLSDescriptors
		}
	}
	gate := eventloop.NewGate(total)
	for _, s := range sources {
		ms := mux.Source{Name: s.name, Gate: gate, Allow: mux.Everything}
		if n, ok := o.clients.of(s.name); ok {
			ms.Gate = eventloop.NewGateWithin(gate, n)
		}
		if a, ok := o.allow.of(s.name); ok {
			ms.Allow = a
		}
		if s.tcp() {
			ms.TLS = certs
		}
		for _, a := range s.addrs {
			ln, err := eventloop.Listen(a, eventloop.DropInBacklog)
			if err != nil {
				return nil, err
			}
			if ms.TLS == nil && !a.Loopback() {
				log.Warn("other machines can connect, and there is neither encryption nor authentication; see --tls-cert",
					"address", a)
			}
			m.Serve(ln, ms)
		}
	}
	return gate, nil
}
