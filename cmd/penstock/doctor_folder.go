package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/penstock-io/penstock/server"
)

// damageShownMax is how many damaged records are told one by one.
const damageShownMax = 20

// folder examines a data folder that no server uses.
func (d *doctor) folder(ctx context.Context, dir string) {
	if why := notAFolder(dir); why != "" {
		d.say("folder", checkFail, why, "name the folder that the server's --data names")
		return
	}
	found, err := server.Examine(ctx, dir)
	if err != nil {
		d.say("folder", checkFail, oneOrMore(err), "")
		if !strings.Contains(err.Error(), "in use") {
			d.say("rescue", checkWarn, "nothing can be read through the storage engine",
				"copy the folder as it is; restore the last backup, or start on an empty folder and enqueue again")
		}
		return
	}
	d.say("folder", checkOK, fmt.Sprintf("%s, %s, %s of records", dir,
		plural(int64(found.Partitions), "partition", "partitions"), bytesText(found.Bytes)), "")
	for i, f := range found.Faults {
		if i == damageShownMax {
			break
		}
		where := fmt.Sprintf("partition %d", f.Partition)
		if f.Key != "" {
			where += " record " + f.Key
		}
		d.say(where, checkFail, brief(f.Why), "")
	}
	text := fmt.Sprintf("%s waiting, %s scheduled, %s, %s finished", thousands(found.Waiting()), thousands(found.Scheduled()),
		plural(found.Dead(), "dead letter", "dead letters"), thousands(found.Finished()))
	if found.Faulty == 0 {
		d.say("records", checkOK, text, "")
		return
	}
	d.say("records", checkFail, plural(found.Faulty, "fault", "faults"), "")
	d.say("rescue", checkWarn, "tasks that can still be read: "+text,
		"copy the folder before anything else, and restore the last backup if there is one; the server does not start on what it can't read whole")
}

// notAFolder says why dir can't be a data folder; opening it would make one.
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
