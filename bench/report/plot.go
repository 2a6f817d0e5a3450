package report

import (
	"bytes"
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// palette tells schemes apart, also for those who do not see colours well (Okabe and
// Ito, 2002), together with shapes.
var (
	palette = []color.Color{
		color.RGBA{0, 114, 178, 255}, color.RGBA{213, 94, 0, 255}, color.RGBA{0, 158, 115, 255},
		color.RGBA{204, 121, 167, 255}, color.RGBA{86, 180, 233, 255}, color.RGBA{230, 159, 0, 255},
	}
	shapes = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}, draw.RingGlyph{}}
)

// File is a file that is to be written.
type File struct {
	Name string
	Data []byte
}

// Plots returns SVG files: the time of one item and of an item in a batch by workload
// and scheme, and the time of integer operations by width. Times are measured ones
// alone.
func Plots(r *suite.Results) ([]File, error) {
	var files []File
	for _, f := range []struct {
		name string
		make func(*suite.Results) (*plot.Plot, vg.Length, vg.Length)
	}{
		{"one-item.svg", func(r *suite.Results) (*plot.Plot, vg.Length, vg.Length) {
			return byWorkload(r, suite.Single, "One item")
		}},
		{"batch.svg", func(r *suite.Results) (*plot.Plot, vg.Length, vg.Length) {
			return byWorkload(r, suite.Batch, "Batches, per item")
		}},
		{"integers.svg", byWidth},
	} {
		p, width, height := f.make(r)
		if p == nil {
			continue
		}
		canvas := vgsvg.New(width, height)
		p.Draw(draw.New(canvas))
		var out bytes.Buffer
		if _, err := canvas.WriteTo(&out); err != nil {
			return nil, err
		}
		files = append(files, File{f.name, out.Bytes()})
	}
	return files, nil
}

// timeTicks are powers of ten of a second, in words.
type timeTicks struct{}

func (timeTicks) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for i, label := range []string{"1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s", "10000 s"} {
		value := 1e-9
		for range i {
			value *= 10
		}
		if value >= lo*0.999 && value <= hi*1.001 {
			ticks = append(ticks, plot.Tick{Value: value, Label: label})
		}
	}
	return ticks
}

// byWorkload has a line for every workload of a size, and a mark for each scheme.
func byWorkload(r *suite.Results, mode, title string) (*plot.Plot, vg.Length, vg.Length) {
	all := slices.DeleteFunc(rungs(r), func(g rung) bool {
		return !slices.ContainsFunc(r.Records, func(x suite.Record) bool {
			return x.Workload == g.workload && x.Size == g.size && x.Mode == mode
		})
	})
	if len(all) == 0 {
		return nil, 0, 0
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s, %s", title, r.Machine.CPU.Model)
	p.X.Label.Text = "median computing time"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, timeTicks{}
	p.Add(plotter.NewGrid())
	labels := make([]string, len(all))
	for i, g := range all { // the first one on top
		labels[len(all)-1-i] = fmt.Sprintf("%s, %d %s", g.workload, g.size, g.unit)
	}
	p.NominalY(labels...)
	for i, scheme := range schemes(r) {
		var points plotter.XYs
		for y, g := range all {
			if x := best(r, g, scheme, mode); x != nil {
				points = append(points, plotter.XY{X: x.PerItem().Median, Y: float64(len(all) - 1 - y)})
			}
		}
		if len(points) == 0 {
			continue
		}
		marks := &plotter.Scatter{XYs: points, GlyphStyle: style(i)}
		p.Add(marks)
		p.Legend.Add(scheme, marks)
	}
	widen(&p.X)
	p.X.Max *= 10 // for the legend
	p.Legend.Top = true
	return p, 22 * vg.Centimeter, vg.Length(4+0.55*float64(len(all))) * vg.Centimeter
}

// widen moves the ends of a logarithmic axis to powers of ten.
func widen(a *plot.Axis) {
	lo, hi := 1e-9, 1e-9
	for lo*10 <= a.Min {
		lo *= 10
	}
	for hi < a.Max {
		hi *= 10
	}
	a.Min, a.Max = lo, hi
}

func style(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: palette[i%len(palette)], Radius: vg.Points(3), Shape: shapes[(i+i/len(shapes))%len(shapes)]}
}

// byWidth has a line for every operation on encrypted integers.
func byWidth(r *suite.Results) (*plot.Plot, vg.Length, vg.Length) {
	p := plot.New()
	p.Title.Text = "Operations on encrypted integers, batches, per operation, " + r.Machine.CPU.Model
	p.X.Label.Text, p.Y.Label.Text = "bits", "median computing time"
	p.X.Scale, p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogScale{}, timeTicks{}
	p.Add(plotter.NewGrid())
	lines, widths := 0, []plot.Tick{}
	for _, w := range workloads.All {
		var points plotter.XYs
		for _, g := range rungs(r) {
			if g.workload != w.Name || g.unit != "bits" || w.Integers == nil || w.Vectors != nil {
				continue
			}
			if x := best(r, g, workloads.TFHE, suite.Batch); x != nil {
				points = append(points, plotter.XY{X: float64(g.size), Y: x.PerItem().Median})
				widths = append(widths, plot.Tick{Value: float64(g.size), Label: fmt.Sprint(g.size)})
			}
		}
		if len(points) < 2 {
			continue
		}
		line := &plotter.Line{XYs: points, LineStyle: draw.LineStyle{Color: palette[lines%len(palette)], Width: vg.Points(1)}}
		marks := &plotter.Scatter{XYs: points, GlyphStyle: style(lines)}
		marks.Shape = shapes[lines/len(palette)%len(shapes)]
		p.Add(line, marks)
		p.Legend.Add(w.Name, line, marks)
		lines++
	}
	if lines == 0 {
		return nil, 0, 0
	}
	p.X.Tick.Marker = plot.ConstantTicks(widths)
	widen(&p.Y)
	p.Legend.Top, p.Legend.Left = true, true
	return p, 22 * vg.Centimeter, 15 * vg.Centimeter
}
