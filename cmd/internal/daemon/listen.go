package daemon

import (
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// Listen binds Socket. If a name has several addresses, it uses the first one and logs that.
func (p *Program) Listen() (*eventloop.Listener, error) {
	addrs, err := wire.ResolveAddr(p.Socket)
	if err != nil {
		return nil, err
	}
	if len(addrs) > 1 {
		p.Log.Info("there are several addresses, listening on the first", "address", addrs[0])
	}
	return eventloop.Listen(addrs[0], eventloop.DropInBacklog)
}
