package main

import "time"

// meter counts requests in windows. A window has the requests answered between two consecutive
// multiples of its length since 1970. The meter belongs to the loop.
type meter struct {
	seconds int64 // length of a window
	number  int64 // of this window: the time in seconds, divided by that
	window  *window
	report  func(*window) // gets every window that has ended, and owns it from then on
}

// newMeter returns a meter for windows of the given number of seconds. The first window begins now.
func newMeter(seconds int, now time.Time, report func(*window)) *meter {
	m := &meter{seconds: int64(seconds), report: report, window: newWindow()}
	m.number = m.numberAt(now)
	return m
}

func (m *meter) numberAt(now time.Time) int64 { return now.Unix() / m.seconds }

// check ends the window if now is no longer in it.
func (m *meter) check(now time.Time) {
	if n := m.numberAt(now); n != m.number {
		m.number = n
		m.end()
	}
}

// add counts a request that took the given time.
func (m *meter) add(typ uint32, took time.Duration) { m.window.add(typ, took) }

// end ends the window.
func (m *meter) end() {
	ended := m.window
	m.window = newWindow()
	m.report(ended)
}
