package results

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// chart is a drawing of a few curves. Its colors are those of the page: class c0, c1 and so on.
type chart struct {
	label  string // description for screen readers
	x, y   axis
	curves []curve
	bands  []band
	mark   float64 // a marked place on the x axis; 0: none
}

// axis maps values to a fraction of its length.
type axis struct {
	name     string
	from, to float64
	log      bool
	ticks    []tick
}

type tick struct {
	at   float64
	text string
}

type curve struct {
	class  string
	points [][2]float64
}

// band is a marked part of the x axis.
type band struct {
	class    string
	from, to float64
}

// The size of the drawing in its own units. The page scales it.
const (
	chartWidth, chartHeight = 480, 290
	chartLeft, chartRight   = 62, 30
	chartTop, chartBottom   = 12, 48
	charWidth               = 8 // of a label, at its largest
)

// place returns the position of v, from 0 to 1. Values off the axis are placed at its end.
func (a *axis) place(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		v, from, to = math.Log(max(v, a.from)), math.Log(a.from), math.Log(a.to)
	}
	return min(max((v-from)/(to-from), 0), 1)
}

func (c *chart) px(v float64) float64 {
	return chartLeft + c.x.place(v)*(chartWidth-chartLeft-chartRight)
}

func (c *chart) py(v float64) float64 {
	return chartHeight - chartBottom - c.y.place(v)*(chartHeight-chartTop-chartBottom)
}

// svg draws the chart. All text in it is ours or escaped.
func (c *chart) svg() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, chartHeight, template.HTMLEscapeString(c.label))
	for _, t := range c.y.ticks {
		y := c.py(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, chartLeft, chartWidth-chartRight, y, y)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`, chartLeft-6, y+4, template.HTMLEscapeString(t.text))
	}
	free := 0.0 // a label needs to start here or further right
	for _, t := range c.x.ticks {
		x := c.px(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x, x, chartTop, chartHeight-chartBottom)
		half := float64(len(t.text)) * charWidth / 2
		if x-half < free {
			continue
		}
		free = x + half + charWidth
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x, chartHeight-chartBottom+20, template.HTMLEscapeString(t.text))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`, (chartLeft+chartWidth-chartRight)/2, chartHeight-8, template.HTMLEscapeString(c.x.name))
	for _, v := range c.bands { // a band without length is a line
		from, to := c.px(v.from), c.px(v.to)
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" width="%.1f" y="%d" height="%d"/>`, v.class, from, to-from, chartTop, chartHeight-chartTop-chartBottom)
	}
	if c.mark > 0 {
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, c.px(c.mark), c.px(c.mark), chartTop, chartHeight-chartBottom)
	}
	for _, curve := range c.curves {
		fmt.Fprintf(&b, `<polyline class="%s" points="`, curve.class)
		for _, p := range curve.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", c.px(p[0]), c.py(p[1]))
		}
		b.WriteString(`"/>`)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// linear returns an axis from 0 to at least the largest value.
func linear(name string, largest float64, text func(float64) string) axis {
	a := axis{name: name, to: 1}
	if largest > 0 {
		a.to = largest
	}
	step := math.Pow(10, math.Floor(math.Log10(a.to)))
	for _, part := range []float64{0.1, 0.2, 0.5, 1, 2} {
		if a.to/(step*part) <= maxTicks {
			step *= part
			break
		}
	}
	a.to = math.Ceil(a.to/step) * step
	for i := range int(math.Round(a.to/step)) + 1 {
		a.ticks = append(a.ticks, tick{float64(i) * step, text(float64(i) * step)})
	}
	return a
}

// maxTicks is how many ticks fit on an axis.
const maxTicks = 6

// times returns a logarithmic axis of whole decades that contains all the times, in nanoseconds.
func times(name string, curves []curve) axis {
	least, most := math.Inf(1), 0.0
	for _, c := range curves {
		for _, p := range c.points {
			if p[1] > 0 {
				least, most = min(least, p[1]), max(most, p[1])
			}
		}
	}
	if most == 0 {
		least, most = 1e3, 1e6
	}
	a := axis{name: name, log: true, from: math.Pow(10, math.Floor(math.Log10(least))), to: math.Pow(10, math.Ceil(math.Log10(most)))}
	if a.to == a.from {
		a.to *= 10
	}
	for at := a.from; at <= a.to*1.01; at *= 10 {
		a.ticks = append(a.ticks, tick{at, Duration(int64(math.Round(at)))})
	}
	return a
}

// count formats a number of operations briefly.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e4)/100)
	case v >= 1e3:
		return fmt.Sprintf("%gk", math.Round(v/10)/100)
	}
	return fmt.Sprintf("%g", math.Round(v*100)/100)
}
