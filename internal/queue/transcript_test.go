package queue_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/queue/queuetest"
)

var rewrite = flag.Bool("rewrite", false, "bring the transcripts up to date")

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d transcripts: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			queuetest.RunTranscript(t, f, *rewrite)
		})
	}
}
