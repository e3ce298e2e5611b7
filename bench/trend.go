package main

import (
	"fmt"
	"slices"
	"strings"
)

// trend is one figure over the time of a soak. It is flat if the median of its last
// third is not above that of its first third by more than a tenth and slack: the
// median, as files of the log and of tables come and go in waves.
type trend struct {
	name    string
	slack   float64 // what may come on top of a tenth
	samples []float64
}

const trendTenth = 1.1

// ends are the medians of the first and the last third.
func (t *trend) ends() (first, last float64) {
	third := len(t.samples) / 3
	return median(t.samples[:third]), median(t.samples[len(t.samples)-third:])
}

func (t *trend) flat() bool {
	first, last := t.ends()
	return last <= first*trendTenth+t.slack
}

func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	return vs[len(vs)/2]
}

// trends are a soak's figures.
type trends []*trend

// tell notes both thirds of each figure, and judges them all.
func (ts trends) tell(r *row) {
	var rising []string
	for _, t := range ts {
		first, last := t.ends()
		r.addDetail(t.name+"_first", first)
		r.addDetail(t.name+"_last", last)
		if !t.flat() {
			rising = append(rising, t.name)
		}
	}
	promise := "flat: no last third's median over 1.1 × the first's and a little"
	if len(rising) > 0 {
		promise += fmt.Sprintf("; rising: %s", strings.Join(rising, ", "))
	}
	r.judge(len(rising) == 0, promise)
}
