package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// row is what one workload came to. Field names are the output's contract.
type row struct {
	Workload     string  `json:"workload"`
	Rate         float64 `json:"rate"`          // tasks a second; 0 where it makes no sense
	P50          float64 `json:"p50_us"`        // of what the workload's description says
	P99          float64 `json:"p99_us"`        //
	Samples      uint64  `json:"samples"`       //
	RSSMB        float64 `json:"rss_mb"`        // MiB resident, of the server's process
	DiskMB       float64 `json:"disk_mb"`       // MiB of blocks under the data folder
	FsyncsPer1k  float64 `json:"fsyncs_per_1k"` // -1 = not known
	Durable      bool    `json:"durable"`       // fsynced before it was acknowledged
	ServerCPU    float64 `json:"server_cpu_us"` // a task; the only process, where there is one
	ClientCPU    float64 `json:"client_cpu_us"` // a task
	ServerAllocs float64 `json:"server_allocs"` // a task; the only process, where there is one
	ClientAllocs float64 `json:"client_allocs"` // a task
	RawRate      float64 `json:"raw_rate"`      // bare Pebble with as many callers, in the same run
	RawRatio     float64 `json:"raw_ratio"`     // Rate / RawRate; 0 = no such baseline
	Seconds      float64 `json:"seconds"`       // measured window
	Detail       detail  `json:"detail,omitempty"`
	Floor        string  `json:"floor,omitempty"` // what the project promises
	OK           *bool   `json:"ok,omitempty"`    // whether the floor was reached
}

// detail is what only some workloads have, in milliseconds, tasks or tasks/s.
type detail map[string]float64

// newRow is a row about tasks that are fsynced before any answer.
func newRow(name string) row {
	return row{Workload: name, FsyncsPer1k: -1, Durable: true}
}

// setLatency takes the percentiles from h.
func (r *row) setLatency(h *histogram) {
	r.P50, r.P99, r.Samples = h.quantileUs(0.5), h.quantileUs(0.99), h.samples()
}

// addDetail notes a figure that only some workloads have.
func (r *row) addDetail(name string, v float64) {
	if r.Detail == nil {
		r.Detail = detail{}
	}
	r.Detail[name] = round(v)
}

// setRaw takes the ratio to a baseline.
func (r *row) setRaw(raw row) {
	r.RawRate = raw.Rate
	if raw.Rate > 0 {
		r.RawRatio = r.Rate / raw.Rate
	}
}

// judge notes a floor and whether it was reached.
func (r *row) judge(ok bool, floor string) {
	r.Floor, r.OK = floor, &ok
}

// format is how rows are written.
type format string

// The formats.
const (
	formatJSON     format = "json" // one object a workload, as soon as it is measured
	formatTable    format = "table"
	formatMarkdown format = "markdown" // for bench/results
)

// printer writes rows.
type printer struct {
	w    io.Writer
	as   format
	rows []row
}

func (p *printer) add(r row) error {
	if p.as == formatJSON {
		return json.NewEncoder(p.w).Encode(r)
	}
	p.rows = append(p.rows, r)
	return nil
}

var columns = []string{"workload", "tasks/s", "p50 ms", "p99 ms", "samples", "RSS MiB", "disk MiB", "fsyncs/1k",
	"CPU µs srv+cli", "allocs srv+cli", "× raw", "promise", ""}

// flush writes the table, if it is to be one.
func (p *printer) flush() error {
	if p.as == formatJSON || len(p.rows) == 0 {
		return nil
	}
	var out strings.Builder
	if p.as == formatMarkdown {
		fmt.Fprintf(&out, "%s\n\n| %s |\n|%s\n", strings.Join(circumstances(), "  \n"), strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
		for _, r := range p.rows {
			fmt.Fprintf(&out, "| %s |\n", strings.Join(r.cells(), " | "))
		}
		fmt.Fprintln(&out)
	} else {
		tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tw, strings.Join(columns, "\t")+"\t")
		for _, r := range p.rows {
			fmt.Fprintln(tw, strings.Join(r.cells(), "\t")+"\t")
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	for _, r := range p.rows {
		if len(r.Detail) > 0 {
			fmt.Fprintln(&out, p.bullet()+r.note())
		}
	}
	_, err := io.WriteString(p.w, out.String())
	return err
}

func (p *printer) bullet() string {
	if p.as == formatMarkdown {
		return "- "
	}
	return ""
}

func (r row) cells() []string {
	cell := func(v float64, prec int) string {
		if v <= 0 {
			return "·"
		}
		return strconv.FormatFloat(v, 'f', prec, 64)
	}
	rate, verdict := "·", ""
	if r.Rate > 0 {
		rate = thousands(r.Rate)
	}
	if r.OK != nil {
		verdict = map[bool]string{true: "ok", false: "MISSED"}[*r.OK]
	}
	return []string{r.Workload, rate, cell(r.P50/1e3, 3), cell(r.P99/1e3, 3), strconv.FormatUint(r.Samples, 10),
		cell(r.RSSMB, 0), cell(r.DiskMB, 0), cell(r.FsyncsPer1k, 1),
		cell(r.ServerCPU, 1) + "+" + cell(r.ClientCPU, 1), cell(r.ServerAllocs, 1) + "+" + cell(r.ClientAllocs, 1),
		cell(r.RawRatio, 2), r.Floor, verdict}
}

// note tells the details of a row, in the order of their names.
func (r row) note() string {
	text := r.Workload + ":"
	for _, name := range sortedKeys(r.Detail) {
		text += fmt.Sprintf("  %s %s", name, strconv.FormatFloat(r.Detail[name], 'f', -1, 64))
	}
	return text
}

func thousands(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
