package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/server"
)

// saved tells what --save has written, and what not.
func (d *doctor) saved(found *server.Findings, save *saveFlags) {
	n := found.Rescued
	f := finding{Check: "saved", Verdict: checkOK, File: save.file, Saved: &savedCount{n.Tasks, n.Dead, n.Over, n.NoBody}}
	switch {
	case n.Tasks+n.Dead == 0:
		f.Verdict, f.File, f.Detail = checkWarn, "", "no task was found that could be saved, so no file was made"
	case save.dead:
		f.Detail = fmt.Sprintf("%s and %s written", plural(n.Tasks, "task", "tasks"), plural(n.Dead, "dead letter", "dead letters"))
	default:
		f.Detail = plural(n.Tasks, "task", "tasks") + " written"
	}
	if f.File == "-" {
		f.File = "stdout"
	}
	var not []string
	add := func(n int64, one, many string) {
		if n > 0 {
			not = append(not, plural(n, one, many))
		}
	}
	if !save.dead {
		add(found.Dead(), "dead letter (--dead writes it too)", "dead letters (--dead writes them too)")
	}
	add(n.Over, "task that is over its deadline or has waited too long", "tasks that are over their deadline or have waited too long")
	add(n.NoBody, "task whose payload is not whole", "tasks whose payload is not whole")
	if len(not) > 0 {
		f.Means = "not written: " + strings.Join(not, ", ")
	}
	if n.NoBody > 0 || n.Nameless > 0 {
		f.Verdict = checkWarn
	}
	d.tell(f)
	if n.Tasks+n.Dead == 0 {
		return
	}
	lost := "their IDs, results and the history of finished tasks are not carried over"
	if n.Attempts > 0 {
		lost += fmt.Sprintf("; %s attempts behind them and start again from none", plural(n.Attempts, "task has", "tasks have"))
	}
	if n := found.Running(); n > 0 {
		lost += fmt.Sprintf("; %s running when the server ended and may have done their work", plural(n, "task was", "tasks were"))
	}
	if n.Nameless > 0 {
		lost += fmt.Sprintf("; %s made-up queue names, lost-queue-…, because theirs are lost: put the right ones in before you enqueue them", plural(n.Nameless, "task has", "tasks have"))
	}
	verdict := checkOK
	if n.Attempts+n.Nameless+found.Running() > 0 {
		verdict = checkWarn
	}
	d.tell(finding{Check: "changes", Verdict: verdict, Detail: lost})
}

// next says what to do, in commands.
func (d *doctor) next(found *server.Findings, dir string, save *saveFlags) {
	asIs := found.Faulty == 0 && !slices.ContainsFunc(found.Files, func(x server.Damage) bool { return x.Kind != "format" && x.Kind != "folder" })
	if asIs && save.file == "" {
		return // nothing to do, or what the finding says
	}
	dir = quoted(strings.TrimRight(dir, "/"))
	f := finding{Check: "next", Verdict: checkWarn}
	switch {
	case found.Waiting()+found.Scheduled()+found.Dead() == 0:
		f.Do = "copy the folder as it is; restore the last backup, or start on an empty folder and enqueue again"
		f.Commands = []string{"cp -a " + dir + " " + dir + ".damaged"}
	case save.file == "":
		f.Do = "copy the folder before anything else, and restore the last backup if there is one; if not, save what can be read and enqueue it into a new folder"
		f.Commands = []string{"cp -a " + dir + " " + dir + ".damaged", "penstock doctor --data " + dir + " --save tasks.jsonl"}
	case found.Rescued.Tasks+found.Rescued.Dead == 0:
		return
	default:
		file := quoted(save.file)
		if save.file == "-" {
			file = "tasks.jsonl"
		}
		f.Do = "keep the folder, start a server on a new one, and enqueue the tasks there"
		if whole(found) {
			f.Do = "a server can start on the folder as it is; to move the tasks to another server, name that in PENSTOCK_URL"
		} else {
			f.Commands = []string{"mv " + dir + " " + dir + ".damaged", "penstock server --data " + dir}
		}
		f.Commands = append(f.Commands, settingsCommands(found)...)
		f.Commands = append(f.Commands, "penstock enqueue --json < "+file+" > "+file+".ids")
	}
	d.tell(f)
}

// settingsCommands give queues the settings that they had.
func settingsCommands(found *server.Findings) (out []string) {
	for i := range found.Queues {
		q := &found.Queues[i]
		flags := settingFlags(&q.Settings)
		if flags == "" && q.Paused {
			flags = " --max-attempts 0" // makes the queue, at its defaults
		}
		if flags != "" {
			out = append(out, "penstock queues set"+flags+" -- "+quoted(q.Name))
		}
		if q.Paused {
			out = append(out, "penstock pause -- "+quoted(q.Name))
		}
	}
	return out
}

func settingFlags(c *task.QueueConfig) string {
	var b strings.Builder
	add := func(given bool, flag string, value any) {
		if given {
			fmt.Fprintf(&b, " --%s %v", flag, value)
		}
	}
	add(c.MaxAttempts != 0, "max-attempts", c.MaxAttempts)
	if c.Timeout == task.AttemptTimeoutNone {
		add(true, "timeout", "none")
	} else {
		add(c.Timeout != 0, "timeout", lengthText(c.Timeout))
	}
	add(c.Backoff != nil, "backoff", backoffText(c.Backoff))
	add(c.Retention != 0, "retention", lengthText(c.Retention))
	add(c.Unserved != 0, "unserved", lengthText(c.Unserved))
	add(c.Width != 0, "width", c.Width)
	if int(c.History) < len(historyNames) {
		add(c.History != 0, "history", historyNames[c.History])
	}
	if int(c.Claims) < len(claimsNames) {
		add(c.Claims != 0, "claims", claimsNames[c.Claims])
	}
	return b.String()
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quoted makes s one word for a shell.
func quoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
