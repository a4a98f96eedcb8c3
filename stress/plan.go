package stress

import (
	"fmt"
	"time"

	"kivaloo"
)

// Plan describes a load: which requests, how often, and for how long.
type Plan struct {
	Mix          Mix
	Distribution Distribution
	Records      uint64 // existing at the start
	ValueSize    int    // in bytes
	Workers      int    // most operations in flight
	Rate         float64
	Poisson      bool // open loop: Poisson arrivals instead of evenly spaced ones
	Warmup       time.Duration
	Duration     time.Duration // of the measurement; 0: until Count
	Count        uint64        // measured operations; 0: until Duration
	Interval     time.Duration // between reports
	Seed         uint64
	Verify       bool // compare every read with what was written
}

// Open reports whether operations start by a schedule of Rate per second. Otherwise each starts
// when the previous one is done.
func (p *Plan) Open() bool { return p.Rate > 0 }

// checkRecords returns an error if a store cannot have such records.
func checkRecords(records uint64, valueSize int, store kivaloo.Params) error {
	switch {
	case records == 0 || records > MaxLoaded:
		return fmt.Errorf("%d records: 1 to %d are possible", records, uint64(MaxLoaded))
	case store.MaxKey < recordKeyLen:
		return fmt.Errorf("the store takes keys of up to %d bytes, and those of a load have %d", store.MaxKey, recordKeyLen)
	case valueSize < valueHeaderLen || valueSize > store.MaxValue:
		return fmt.Errorf("values of %d bytes: %d to %d are possible with this store", valueSize, valueHeaderLen, store.MaxValue)
	}
	return nil
}

// Check returns an error if the plan is impossible with any store.
func (p *Plan) Check() error {
	switch {
	case len(p.Mix.ops()) == 0:
		return fmt.Errorf("a mix of no operations")
	case p.Workers < 1 || p.Workers > MaxWorkers:
		return fmt.Errorf("%d operations in flight: 1 to %d are possible", p.Workers, MaxWorkers)
	case p.Rate != 0 && !(p.Rate >= MinRate && p.Rate <= MaxRate):
		return fmt.Errorf("a rate of %g per second: %g to %d is possible", p.Rate, MinRate, MaxRate)
	case p.Duration < 0 || p.Duration > MaxTime || p.Warmup < 0 || p.Warmup > MaxTime:
		return fmt.Errorf("a load of %v after a warm-up of %v: up to %v is possible for each", p.Duration, p.Warmup, MaxTime)
	case p.Duration == 0 && p.Count == 0:
		return fmt.Errorf("neither a duration nor a number of operations to end the load")
	case p.Interval < MinInterval || p.Interval > MaxTime:
		return fmt.Errorf("intervals of %v: %v to %v is possible", p.Interval, MinInterval, MaxTime)
	}
	return nil
}

// check returns an error if the plan is impossible with this store.
func (p *Plan) check(store kivaloo.Params) error {
	if err := p.Check(); err != nil {
		return err
	}
	return checkRecords(p.Records, p.ValueSize, store)
}

// Outcome is the result of a load.
type Outcome struct {
	Plan  Plan
	Total *Interval // the whole measured time

	// Of an open loop: how many operations should have started in the measured time, and how many
	// of them never did, because too many were in flight. Their times are not recorded, so the
	// recorded ones look too good.
	Due, Overdue int64

	Checked    int64    // reads compared with what was written
	Violations int64    // answers among them that cannot be right
	Findings   []string // the first violations
	FirstError error    // of the failed operations
	Cut        bool     // ended early, by the context
}

// Err returns an error if the load found something wrong.
func (o *Outcome) Err() error {
	switch {
	case o.Violations > 0:
		return fmt.Errorf("%w: %d of %d reads were wrong, for instance: %s", ErrVerify, o.Violations, o.Checked, o.Findings[0])
	case o.FirstError != nil:
		return fmt.Errorf("%d operations failed, the first of them: %w", o.Total.All.Failed, o.FirstError)
	}
	return nil
}
