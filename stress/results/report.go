package results

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// reportFile is one self-contained page.
const reportFile = "report.html"

//go:embed report.html.tmpl
var reportText string

var reportTemplate = template.Must(template.New(reportFile).Parse(reportText))

// page is the input of the template.
type page struct {
	Title, What, How string
	Host             Host
	When             string
	Figures          []figure
	Head             []string
	Rows             [][]string
	Notes            []string
}

// figure is a chart with its title and caption.
type figure struct {
	Title   string
	Keys    []key
	Caption string
	SVG     template.HTML
}

// key explains the curves of a class.
type key struct{ Class, Text string }

// Report draws the results in a directory, of a run or a sweep, and returns the path of the page.
func Report(dir string) (path string, err error) {
	var p *page
	switch w, err := readSweep(dir); {
	case err == nil:
		p = sweepPage(w)
	case errors.Is(err, fs.ErrNotExist):
		r, err := Read(dir)
		if err != nil {
			return "", err
		}
		p = runPage(r)
	default:
		return "", err
	}
	var text bytes.Buffer
	if err := reportTemplate.Execute(&text, p); err != nil {
		return "", fmt.Errorf("draw %s: %w", dir, err)
	}
	path = filepath.Join(dir, reportFile)
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("write a report: %w", err)
	}
	return path, nil
}

func runPage(r *Results) *page {
	s := &r.Summary
	p := &page{Title: "Workload " + s.Config.Workload, What: s.Config.describe(), How: s.Config.loop(), Host: s.Host,
		When: s.Started.Format("2006-01-02 15:04:05 UTC"), Notes: s.Notes(),
		Figures: []figure{percentiles(r), throughput(r), overTime(r)}}
	if len(s.Ops) > 2 {
		p.Figures = append(p.Figures, byOperation(r))
	}
	p.Head, p.Rows = tableOf(s)
	return p
}

// tableOf returns a table with a column for each operation, so that it fits a phone.
func tableOf(s *Summary) (head []string, rows [][]string) {
	ops := s.Ops
	if len(ops) == 2 { // the total would repeat the only one
		ops = ops[:1]
	}
	add := func(name string, of func(*Row) string) {
		row := []string{name}
		for i := range ops {
			row = append(row, of(&ops[i]))
		}
		rows = append(rows, row)
	}
	head = []string{""}
	for _, row := range ops {
		head = append(head, row.Op)
	}
	places := []string{"mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}
	if !s.Config.Open() {
		for i, name := range places {
			add(name, func(r *Row) string { return r.Service.list()[i] })
		}
	} else {
		for i, name := range places {
			add("response "+name, func(r *Row) string { return r.Response.list()[i] })
		}
		for i, name := range places {
			add("service "+name, func(r *Row) string { return r.Service.list()[i] })
		}
	}
	add("done", func(r *Row) string { return fmt.Sprint(r.Done) })
	add("per second", func(r *Row) string { return fmt.Sprintf("%.0f", r.PerSec) })
	add("missed", func(r *Row) string { return fmt.Sprint(r.Missed) })
	add("failed", func(r *Row) string { return fmt.Sprint(r.Failed) })
	return head, rows
}

// list returns the times as they are printed.
func (t Times) list() []string { return strings.Split(t.cells(), "\t") }

// percentiles draws the times of the slowest operations.
func percentiles(r *Results) figure {
	f := figure{Title: "How long operations took", Caption: "Read it like this: at 99, one of a hundred took longer. Both axes are logarithmic."}
	c := chart{label: "percentiles of the times of operations"}
	most := int64(10)
	for i, row := range r.Summary.Ops[:len(r.Summary.Ops)-1] {
		kind := "service"
		if r.Summary.Config.Open() {
			kind = "response"
		}
		for _, v := range []struct{ tag, class, text string }{
			{row.Op, fmt.Sprintf("c%d", i), row.Op + ", " + kind + " time"},
			{row.Op + serviceTag, fmt.Sprintf("c%d dashed", i), row.Op + ", service time"},
		} {
			h := r.Curves[v.tag]
			if h == nil || h.TotalCount() == 0 {
				continue
			}
			most = max(most, h.TotalCount()+row.Failed)
			c.curves = append(c.curves, curve{v.class, percentileCurve(h, row.Failed)})
			f.Keys = append(f.Keys, key{v.class, v.text})
		}
	}
	c.x = axis{name: "% of the operations that took no longer", log: true, from: 1, to: float64(most)}
	for at, text := 1.0, ""; at <= c.x.to; at *= 10 {
		if text = "0"; at > 1 {
			text = fmt.Sprintf("%.*f", max(0, int(math.Round(math.Log10(at)))-2), 100-100/at)
		}
		c.x.ticks = append(c.x.ticks, tick{at, text})
	}
	c.y = times("", c.curves)
	f.SVG = c.svg()
	return f
}

// percentileCurve returns points that are evenly spaced along an axis of "one in x". It ends where
// the failed operations begin.
func percentileCurve(h *hdrhistogram.Histogram, failed int64) (points [][2]float64) {
	const perDecade = 20
	all := float64(h.TotalCount() + failed)
	for i := 0; ; i++ {
		x := min(math.Pow(10, float64(i)/perDecade), all)
		ns := percentile(h, failed, 100-100/x)
		if x == all && failed == 0 {
			ns = h.Max()
		}
		if ns < Never {
			points = append(points, [2]float64{x, float64(ns)})
		}
		if x == all || ns >= Never {
			return points
		}
	}
}

func throughput(r *Results) figure {
	f := figure{Title: "Operations per second over time", Keys: []key{{"c0", "done"}}}
	c := chart{label: "operations per second over time"}
	all, largest := curve{class: "c0"}, r.Summary.Config.Rate
	for _, s := range r.Intervals["all"] {
		all.points = append(all.points, [2]float64{s.Start + s.Length, s.PerSec})
		largest = max(largest, s.PerSec)
	}
	if rate := r.Summary.Config.Rate; rate > 0 {
		c.curves = append(c.curves, curve{"c1 dashed", [][2]float64{{0, rate}, {r.Summary.Seconds, rate}}})
		f.Keys = append(f.Keys, key{"c1 dashed", "asked for"})
		f.Caption = "A dip is a stall; what follows above the line is what had become due meanwhile."
	}
	c.curves = append(c.curves, all)
	c.x, c.y = linear("seconds", r.Summary.Seconds, plainNumber), linear("", largest, count)
	markEvents(&f, &c, r.Summary.Events)
	f.SVG = c.svg()
	return f
}

func plainNumber(v float64) string { return fmt.Sprintf("%.4g", v) }

func overTime(r *Results) figure {
	f := figure{Title: "Percentiles over time", Caption: "Of all operations in each interval. Peaks that come together with dips above are stalls."}
	c := chart{label: "percentiles of the times over time"}
	for i, v := range []struct {
		text string
		of   func(Times) int64
	}{{"p50", func(t Times) int64 { return t.P50 }}, {"p99", func(t Times) int64 { return t.P99 }}, {"p99.9", func(t Times) int64 { return t.P999 }}, {"max", func(t Times) int64 { return t.Max }}} {
		line := curve{class: fmt.Sprintf("c%d", i)}
		for _, s := range r.Intervals["all"] {
			if ns := v.of(s.Response); ns > 0 && ns < Never {
				line.points = append(line.points, [2]float64{s.Start + s.Length, float64(ns)})
			}
		}
		c.curves = append(c.curves, line)
		f.Keys = append(f.Keys, key{line.class, v.text})
	}
	c.x, c.y = linear("seconds", r.Summary.Seconds, plainNumber), times("", c.curves)
	markEvents(&f, &c, r.Summary.Events)
	f.SVG = c.svg()
	return f
}

// byOperation draws the p99 of each operation over time.
func byOperation(r *Results) figure {
	f := figure{Title: "p99 of each operation over time"}
	c := chart{label: "p99 of each operation over time"}
	for i, row := range r.Summary.Ops[:len(r.Summary.Ops)-1] {
		line := curve{class: fmt.Sprintf("c%d", i)}
		for _, s := range r.Intervals[row.Op] {
			if ns := s.Response.P99; ns > 0 && ns < Never {
				line.points = append(line.points, [2]float64{s.Start + s.Length, float64(ns)})
			}
		}
		c.curves = append(c.curves, line)
		f.Keys = append(f.Keys, key{line.class, row.Op})
	}
	c.x, c.y = linear("seconds", r.Summary.Seconds, plainNumber), times("", c.curves)
	markEvents(&f, &c, r.Summary.Events)
	f.SVG = c.svg()
	return f
}

func sweepPage(w *Sweep) *page {
	c := w.Config
	p := &page{Title: "Sweep of workload " + c.Workload, What: c.describe(), Host: w.Host, Notes: []string{w.Conclusion()},
		How:  fmt.Sprintf("open loops: %s arrivals, at most %d connections, %d in flight on each", c.Arrivals, c.Connections, c.InFlight),
		Head: []string{"asked", "p50", "p99", "p99.9", "achieved", "overdue", "mean", "p90", "p99.99", "max", "lag p99"}}
	f := figure{Title: "Response time by rate"}
	most := w.Steps[len(w.Steps)-1].Rate
	knee, _ := w.Knee()
	if knee == most {
		knee = 0 // the store kept up with the highest rate, so the knee is unknown
	}
	if knee > 0 {
		f.Caption = "The vertical line is the knee, the highest rate that the store keeps up with."
	}
	d := chart{label: "response time by rate", mark: knee}
	rate := figure{Title: "Achieved by rate", Keys: []key{{"c0", "achieved"}, {"c1 dashed", "asked for"}}}
	e := chart{label: "achieved by rate", mark: knee, curves: []curve{{class: "c0"}, {class: "c1 dashed"}}}
	for i, name := range []string{"p50", "p99", "p99.9"} {
		line := curve{class: fmt.Sprintf("c%d", i)}
		for _, s := range w.Steps {
			if ns := value(name, 0, s.Response); ns < Never {
				line.points = append(line.points, [2]float64{s.Rate, ns})
			}
		}
		d.curves = append(d.curves, line)
		f.Keys = append(f.Keys, key{line.class, name})
	}
	for _, s := range w.Steps {
		e.curves[0].points = append(e.curves[0].points, [2]float64{s.Rate, s.PerSec})
		e.curves[1].points = append(e.curves[1].points, [2]float64{s.Rate, s.Rate})
		t := s.Response
		p.Rows = append(p.Rows, []string{fmt.Sprintf("%.0f", s.Rate), Duration(t.P50), Duration(t.P99), Duration(t.P999), fmt.Sprintf("%.0f", s.PerSec),
			fmt.Sprint(s.Overdue), Duration(t.Mean), Duration(t.P90), Duration(t.P9999), Duration(t.Max), Duration(s.Lag.P99)})
	}
	d.x, d.y = linear("operations per second asked for", most, count), times("", d.curves)
	e.x, e.y = d.x, linear("", most, count)
	f.SVG, rate.SVG = d.svg(), e.svg()
	p.Figures = []figure{f, rate}
	return p
}
