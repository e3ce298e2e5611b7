package sim

// notYet are checkers and shapes that stand ready and would cry over what is known
// and not mended yet, and mutants that nothing sees. Who mends it takes the line out.
var notYet = map[string]string{
	"mutant watch-gone-untold":  "who waits for a task that is deleted: of 200 seeds none sees that nobody tells them",
	"mutant low-too-high":       "a mark above what is live: of 200 seeds none starts from one and misses a task; lists bring back what runs",
	"mutant timed-low-too-high": "likewise of the timed",
	"mutant window-stalled":     "a full window whose first task is in the store alone: of 200 seeds none stays there",
}

// on says whether a checker is not put off.
func on(checker string) bool {
	_, off := notYet[checker]
	return !off
}
