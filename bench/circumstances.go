package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// loadBefore is how busy the machine was when the program began.
var loadBefore = func() string {
	b, _ := os.ReadFile("/proc/loadavg") // not every system has it
	load, _, _ := strings.Cut(string(b), " ")
	return load
}()

// circumstances are what a figure is worth nothing without: machine, commit,
// command.
func circumstances() []string {
	machine := fmt.Sprintf("%d CPUs", runtime.GOMAXPROCS(0))
	if model := procField("/proc/cpuinfo", "model name"); model != "" {
		machine += " (" + model + ")"
	}
	if mem := procField("/proc/meminfo", "MemTotal"); mem != "" {
		machine += ", " + mem + " of memory"
	}
	if loadBefore != "" {
		machine += ", load " + loadBefore + " before"
	}
	commit := "unknown"
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return []string{
		"Machine: " + machine + ", " + runtime.GOOS + "/" + runtime.GOARCH,
		"Commit: " + commit + ", " + runtime.Version(),
		"Command: `go run ./bench " + strings.Join(os.Args[1:], " ") + "`",
	}
}

// procField is the value of the first line "name: value".
func procField(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
