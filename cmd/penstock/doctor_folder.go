package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
)

// Bounds of what the doctor reads and tells.
const (
	partitionsMax   = 1024
	damageShownMax  = 20
	recordClassByte = 2 // of a key: which kind of record it is
)

// folder examines a data folder that no server uses.
func (d *doctor) folder(ctx context.Context, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.say("folder", checkFail, dir+" is not there", "name the folder that the server's --data names")
		return
	case err != nil:
		d.say("folder", checkFail, err.Error(), "")
		return
	case !info.IsDir():
		d.say("folder", checkFail, dir+" is a file", "name the folder that the server's --data names")
		return
	}
	if names, err := os.ReadDir(dir); err == nil && len(names) == 0 {
		d.say("folder", checkFail, dir+" is empty", "name the folder that the server's --data names")
		return
	}
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		d.say("folder", checkFail, oneOrMore(err), "")
		d.say("rescue", checkWarn, "nothing can be read through the storage engine",
			"stop here and copy the folder; restore the last backup, or start on an empty folder and enqueue again")
		return
	}
	d.say("folder", checkOK, dir, "")
	e := examination{d: d, counts: map[record.Class]int64{}}
	for p := range uint16(partitionsMax) {
		part, err := st.Acquire(ctx, p, "doctor")
		if err != nil {
			d.say(fmt.Sprintf("partition %d", p), checkFail, oneOrMore(err), "")
			break
		}
		found := e.scan(p, part.Scan(nil, nil))
		if err := part.Release(); err != nil {
			d.say(fmt.Sprintf("partition %d", p), checkFail, oneOrMore(err), "")
		}
		if !found {
			break
		}
	}
	if err := st.Close(); err != nil {
		d.say("folder", checkFail, "close: "+oneOrMore(err), "")
	}
	e.tell()
}

// iterator is what a scan of a partition gives.
type iterator interface {
	Next() bool
	Key() []byte
	Value() []byte
	Close() error
}

// examination reads every record of a folder.
type examination struct {
	d       *doctor
	dec     record.Decoder
	counts  map[record.Class]int64
	damaged int64
}

// scan checks one partition's records and says whether there were any.
func (e *examination) scan(partition uint16, it iterator) (found bool) {
	for it.Next() {
		found = true
		key := it.Key()
		err := e.dec.Check(key, it.Value())
		if err == nil {
			e.counts[record.Class(key[recordClassByte])]++
			continue
		}
		if e.damaged++; e.damaged <= damageShownMax {
			e.d.say(fmt.Sprintf("partition %d", partition), checkFail, err.Error(), "")
		}
	}
	if err := it.Close(); err != nil {
		e.damaged++
		e.d.say(fmt.Sprintf("partition %d", partition), checkFail, "reading ends early: "+oneOrMore(err), "")
	}
	return found
}

// tell sums up what can be read, and what to do when that is not all.
func (e *examination) tell() {
	waiting := e.counts[record.ClassBirth] + e.counts[record.ClassTimed]
	text := fmt.Sprintf("%s, %s, %s, %s", plural(e.counts[record.ClassQueue], "queue", "queues"),
		plural(waiting, "record of a waiting task", "records of waiting tasks"),
		plural(e.counts[record.ClassDead], "dead letter", "dead letters"),
		plural(e.counts[record.ClassFinished], "record of finished tasks", "records of finished tasks"))
	if e.damaged == 0 {
		e.d.say("records", checkOK, text, "")
		return
	}
	if e.damaged > damageShownMax {
		e.d.say("records", checkFail, fmt.Sprintf("%s more are damaged", thousands(e.damaged-damageShownMax)), "")
	}
	e.d.say("rescue", checkWarn, "can still be read: "+text,
		"copy the folder before anything else; restore the last backup if there is one; the server does not start on what it can't read whole")
}
