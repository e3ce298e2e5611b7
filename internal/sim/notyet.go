package sim

// notYet are checkers and shapes that stand ready and would cry over what is known
// and not mended yet. Who mends it takes the line out.
var notYet = map[string]string{
	"a lease nobody runs":       "after a reconnect an outcome that is sent again may be refused before the attach that names its lease takes that up: it then lives as long as its session",
	"hold over an end in order": "an owner that ends in order within five seconds of an unclean start says that nothing is running: the next one holds nothing",
	"adopt what is not read":    "a lease that is presented before its task was read is lost",
	"left payload chunk":        "a purge leaves the chunks of tasks that had moved, and of dead letters",
	"left idempotency":          "the sweep leaves idempotency entries",
	"left session":              "a start in order with recorded sessions and no claims never drops those that don't come back",
	"early after a restart":     "what was held after a restart is ready when that ends, due or not",
	"left where":                "a purge by range leaves where its tasks were",
}

// on says whether a checker is not put off.
func on(checker string) bool {
	_, off := notYet[checker]
	return !off
}
