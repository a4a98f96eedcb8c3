package mux

import (
	"log/slog"
	"sync"
	"time"
)

// complaints logs what is wrong with clients, up to a limit. It is safe for concurrent use.
type complaints struct {
	log *slog.Logger

	mu     sync.Mutex
	period time.Time // start of the current period
	made   int       // complaints since then
}

// add logs why a client of a source was dropped.
func (c *complaints) add(what, source, peer string, why error) {
	if !c.admit(time.Now()) {
		return
	}
	attrs := []any{"source", source}
	if peer != "" {
		attrs = append(attrs, "peer", peer)
	}
	c.log.Warn(what, append(attrs, "err", why)...)
}

// admit reports whether one more complaint may be logged. It logs how many were left out.
func (c *complaints) admit(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.period) >= complaintPeriod {
		if unsaid := c.made - complaintsPerPeriod; unsaid > 0 {
			c.log.Warn("more clients were disconnected", "number", unsaid)
		}
		c.period, c.made = now, 0
	}
	c.made++
	return c.made <= complaintsPerPeriod
}
