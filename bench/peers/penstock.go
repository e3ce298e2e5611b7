package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

// measurePenstock runs the same workloads by Penstock's own bench, from the
// checkout that this module lies in.
func measurePenstock(ctx context.Context, o options) (result, error) {
	r := result{
		Peer: "Penstock", Durable: true,
		Durability: "fsync before the acknowledgement, of enqueues and of finishes; history on; defaults",
	}
	args := []string{"run", "./bench", "-o", "json", "-run", "^(loopback-64|loopback-drain|loopback-bulk|light-200)$"}
	if o.quick {
		args = append(args, "-quick")
	}
	if o.duration > 0 {
		args = append(args, "-duration", o.duration.String())
	}
	if o.dir != "" {
		args = append(args, "-dir", o.dir)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("go run ./bench: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		var row struct {
			Workload string  `json:"workload"`
			Rate     float64 `json:"rate"`
			P50      float64 `json:"p50_us"`
			P99      float64 `json:"p99_us"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return r, fmt.Errorf("read bench's output: %w", err)
		}
		switch row.Workload {
		case "loopback-64":
			r.Steady = row.Rate
		case "loopback-drain":
			r.Drain = row.Rate
		case "loopback-bulk":
			r.Bulk = row.Rate
		case "light-200":
			r.LightP50, r.LightP99 = row.P50/1e3, row.P99/1e3
		}
	}
	return r, lines.Err()
}
