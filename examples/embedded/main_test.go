package main

import (
	"context"
	"testing"
)

// A second start over the same folder finds the first one's tasks and results.
func TestRunTwice(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := run(context.Background(), dir); err != nil {
			t.Fatal(err)
		}
	}
}
