package sim

// notYet are checkers and shapes that stand ready and would cry over what is known
// and not mended yet. Who mends it takes the line out.
var notYet = map[string]string{}

// on says whether a checker is not put off.
func on(checker string) bool {
	_, off := notYet[checker]
	return !off
}
