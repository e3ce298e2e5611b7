package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/server"
)

// damageShownMax is how many damaged records are told one by one.
const damageShownMax = 20

// folder examines a data folder that no server uses.
func (d *doctor) folder(ctx context.Context, dir string, save *saveFlags) {
	if why := notAFolder(dir); why != "" {
		d.say("folder", checkFail, why, "name the folder that the server's --data names")
		return
	}
	var out *saved
	o := server.RescueOptions{Dead: save.dead}
	if save.file != "" {
		var err error
		if out, err = save.open(d.a, dir); err != nil {
			d.say("save", checkFail, err.Error(), "")
			return
		}
		o.Each = out.write
	}
	found, err := server.Rescue(ctx, dir, o)
	if out != nil {
		err = errors.Join(err, out.close(err == nil && found.Rescued.Tasks+found.Rescued.Dead > 0))
	}
	if err != nil {
		d.unexamined(dir, err)
		return
	}
	d.files(found)
	d.records(found)
	for i := range found.Queues {
		d.queueFound(&found.Queues[i])
	}
	d.total(found)
	if save.file != "" {
		d.saved(found, save)
	}
	d.next(found, dir, save)
}

func (d *doctor) unexamined(dir string, err error) {
	var used *server.InUseError
	if !errors.As(err, &used) {
		d.say("folder", checkFail, strings.ReplaceAll(d.a.explain(err), "\n", "; "), "nothing was changed, and nothing saved")
		return
	}
	f := finding{Check: "folder", Verdict: checkFail, File: dir, Detail: "it is in use by another penstock",
		Means: "a folder can be read whole only while no server has it open",
		Do:    "stop that server first, or ask it itself how it is: penstock doctor"}
	if used.Process != "" {
		f.Detail = "it is in use by process " + used.Process
	}
	d.tell(f)
}

// files tells of each damaged file.
func (d *doctor) files(found *server.Findings) {
	verdict, detail := checkOK, fmt.Sprintf("%s, %s of records", plural(int64(found.Partitions), "partition", "partitions"), bytesText(found.Bytes))
	if len(found.Files) > 0 {
		verdict, detail = checkFail, detail+" can be read; "+plural(int64(len(found.Files)), "file is damaged", "files are damaged")
	}
	d.tell(finding{Check: "folder", Verdict: verdict, File: found.Dir, Detail: detail})
	for i := range found.Files {
		x := &found.Files[i]
		f := finding{Check: x.Kind, Verdict: checkFail, File: x.File, Detail: x.What, Means: meansOf(x), Do: doFor(x)}
		if x.Bytes >= 0 {
			f.LostBytes = &x.Bytes
		}
		if x.Records >= 0 {
			f.LostRecords = &x.Records
		}
		d.tell(f)
	}
}

// meansOf says what damage to a file is for the user.
func meansOf(x *server.Damage) string {
	var s string
	switch {
	case x.Kind == "format":
		return "the server does not take the folder for its own; the tasks in it are not touched by this"
	case x.Kind == "folder":
		return x.Saved
	case x.Kind == "database":
		return "no task can be read"
	case x.Kind == "start":
		return "a server does not start on it; " + x.Saved + " can be read"
	case x.Kind == "manifest":
		return "the list of the database's files is lost, the files are not: " + x.Saved + ", has been read; tasks that had ended may show up again"
	case x.Records == 0:
		return "no record is lost by it"
	case x.Records > 0:
		s = plural(x.Records, "record is lost", "records are lost")
	case x.Bytes > 0:
		s = bytesText(x.Bytes) + " are lost"
	default:
		s = "records are lost"
	}
	if x.Kind == "log" {
		s += ", of what was enqueued or finished last"
	}
	if x.Holds != "" {
		s += ", from: " + x.Holds
	}
	if x.Saved != "" {
		s += "; can be read: " + x.Saved
	}
	return s
}

func doFor(x *server.Damage) string {
	switch x.Kind {
	case "format":
		if strings.Contains(x.What, "version") {
			return "use the release of penstock that wrote it"
		}
		return "put the file back from a backup; if you know that the folder is penstock's, write the one line \"penstock data 1\" into it"
	case "folder":
		return "start the server"
	case "start":
		return "do what it says if it says so; if not, restore the folder from the last backup, or save the tasks (see next)"
	case "database":
		return "restore the folder from the last backup"
	}
	return "put the file back from a backup of the same moment if there is one; if not, save the tasks (see next)"
}

// records tells of records that can be read and make no sense.
func (d *doctor) records(found *server.Findings) {
	for i, f := range found.Faults {
		if i == damageShownMax {
			break
		}
		where, means := fmt.Sprintf("partition %d", f.Partition), ""
		switch {
		case f.Partition < 0:
			where, means = "layout", "the record says over how many partitions queues are spread; tasks are not touched by this"
		case f.Record != "":
			means = "it is lost; it is one of: " + f.Record
		}
		if f.Key != "" {
			f.Why = "record " + f.Key + ": " + f.Why
		}
		d.tell(finding{Check: where, Verdict: checkFail, Detail: brief(f.Why), Means: means, Do: "the server does not start with it: save the tasks (see next)"})
	}
	if more := found.Faulty - damageShownMax; more > 0 {
		d.tell(finding{Check: "records", Verdict: checkFail, Detail: plural(more, "more fault", "more faults") + " like these"})
	}
}

func (d *doctor) queueFound(q *server.QueueFound) {
	f := finding{Check: "queue " + q.Name, Verdict: checkOK, Queue: &queueFound{
		Name: q.Name, Waiting: q.Waiting, Scheduled: q.Scheduled, Running: q.Running, Dead: q.Dead, Finished: q.Finished, Missing: q.Missing,
	}}
	f.Detail = counts(q.Waiting, q.Scheduled, q.Dead, q.Finished)
	if q.Running > 0 {
		f.Detail += fmt.Sprintf("; %s running when the server ended", thousands(q.Running))
	}
	if q.Missing > 0 {
		f.Verdict = checkFail
		f.Means = fmt.Sprintf("at least %s missing: by the queue's own count there were so many more", plural(q.Missing, "task is", "tasks are"))
	}
	if q.Nameless {
		f.Verdict = checkFail
		f.Means = "the queue's own record is lost: its name is made up, its settings and how many tasks it had are not known"
	}
	d.tell(f)
}

func counts(waiting, scheduled, dead, finished int64) string {
	return fmt.Sprintf("%s waiting, %s scheduled, %s, %s finished", thousands(waiting), thousands(scheduled),
		plural(dead, "dead letter", "dead letters"), thousands(finished))
}

func (d *doctor) total(found *server.Findings) {
	text := counts(found.Waiting(), found.Scheduled(), found.Dead(), found.Finished())
	if whole(found) {
		d.say("records", checkOK, text, "")
		return
	}
	f := finding{Check: "rescue", Verdict: checkWarn, Detail: "tasks that can still be read: " + text}
	if n := found.Missing(); n > 0 {
		f.Means = fmt.Sprintf("at least %s missing", plural(n, "task is", "tasks are"))
	} else if slices.ContainsFunc(found.Files, heldTasks) {
		f.Means = "whether tasks are missing can't be told: counts of queues may be missing with them"
	}
	if found.Stale > 0 {
		f.Do = fmt.Sprintf("not counted: %s whose task has moved on or ended; their deletion was lost", plural(found.Stale, "record", "records"))
	}
	d.tell(f)
}

// heldTasks says whether tasks that have not ended may be among what is lost.
func heldTasks(x server.Damage) bool {
	if x.Kind != "table" || x.Holds == "" {
		return x.Kind == "table" || x.Kind == "log"
	}
	for _, word := range strings.Split(x.Holds, ", ") {
		if !slices.Contains([]string{"finished tasks", "the index of finished tasks", "the expiry index", "worker sessions", "producer sessions"}, word) {
			return true
		}
	}
	return false
}

func whole(found *server.Findings) bool {
	return found.Opens && len(found.Files) == 0 && found.Faulty == 0
}

// notAFolder says why dir can't be a data folder.
func notAFolder(dir string) string {
	info, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return dir + " is not there"
	} else if err != nil {
		return err.Error()
	} else if !info.IsDir() {
		return dir + " is a file"
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) == 0 {
		return dir + " is empty"
	}
	return ""
}
