package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
	"github.com/penstock-io/penstock/internal/task"
)

// Findings are what Examine has seen in a data folder.
type Findings struct {
	Dir        string
	Opens      bool // the storage engine opens it as it is
	Files      []Damage
	Partitions int
	Bytes      int64            // of all records
	Records    map[string]int64 // readable ones, by what they are: "birth", "timed", "dead letter", "finished" …
	Faults     []Fault          // the first hundred a partition
	Faulty     int64            // all of them
	Queues     []QueueFound     // by name
	Stale      int64            // records left out, because their task has moved on or ended; their deletion is lost
	Rescued    RescueCounts
}

// Damage is a file of which not all can be read.
type Damage struct {
	Kind    string // folder, format, database, start, manifest, table or log
	File    string
	What    string
	Saved   string // what can be read of it
	Bytes   int64  // that can't be read; -1 is not known
	Records int64  // that can't be read; -1 is not known
	Holds   string // what they were, in words; "" is not known
}

// Fault is one thing that is wrong with the records of a folder.
type Fault struct {
	Partition int    // -1: it is about the folder
	Key       string // of the record in question, in hex; "" when it is about several
	Record    string // what it is, in words; "" when that is not known
	Why       string
}

// QueueFound is what can be read of a queue. Running is among Waiting and
// Scheduled: tasks whose lease was on disk.
type QueueFound struct {
	Name                        string
	Nameless                    bool // its record is lost: Name is made up
	Waiting, Scheduled, Running int64
	Dead, Finished              int64
	Missing                     int64 // tasks and dead letters that the queue's own count has, and that were not found
	Paused                      bool
	Settings                    task.QueueConfig
}

// Waiting, Scheduled, Dead and Finished are tasks that can be read, and so be
// saved.
func (f *Findings) Waiting() int64 { return f.sum(func(q *QueueFound) int64 { return q.Waiting }) }

// Scheduled counts tasks that wait for a time, retries too.
func (f *Findings) Scheduled() int64 { return f.sum(func(q *QueueFound) int64 { return q.Scheduled }) }

// Dead counts dead letters.
func (f *Findings) Dead() int64 { return f.sum(func(q *QueueFound) int64 { return q.Dead }) }

// Finished counts finished tasks still remembered.
func (f *Findings) Finished() int64 { return f.sum(func(q *QueueFound) int64 { return q.Finished }) }

// Running counts tasks whose lease was on disk; they are among the waiting and the
// scheduled.
func (f *Findings) Running() int64 { return f.sum(func(q *QueueFound) int64 { return q.Running }) }

// Missing counts tasks that were there once and can't be read.
func (f *Findings) Missing() int64 { return f.sum(func(q *QueueFound) int64 { return q.Missing }) }

func (f *Findings) sum(of func(*QueueFound) int64) (n int64) {
	for i := range f.Queues {
		n += of(&f.Queues[i])
	}
	return n
}

// InUseError is what Examine and Rescue return when a server has the folder open.
type InUseError = pebblestore.InUseError

// Examine reads a whole data folder, past what is damaged, and says what is wrong
// and what can be read. It writes nothing, and the folder must not be in use. An
// error means that it can't be looked at at all.
func Examine(ctx context.Context, dir string) (*Findings, error) {
	return Rescue(ctx, dir, RescueOptions{})
}

// examination is one look at a folder.
type examination struct {
	*Findings
	ctx     context.Context
	o       RescueOptions
	files   *pebblestore.Inspection
	surveys map[uint16]*record.Survey
	found   map[string]*QueueFound
	dec     record.Decoder
}

func openExamination(ctx context.Context, dir string, o RescueOptions) (*examination, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("examine a data folder: %w: name the folder that the server uses", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("examine a data folder: %s is empty: name the folder that the server uses", dir)
	}
	files, err := pebblestore.Inspect(dir)
	if err != nil {
		return nil, err
	}
	x := &examination{
		Findings: &Findings{Dir: dir, Opens: files.Opens, Records: map[string]int64{}},
		ctx:      ctx, o: o, files: files,
		surveys: map[uint16]*record.Survey{}, found: map[string]*QueueFound{},
	}
	return x, nil
}

// survey reads every record once.
func (x *examination) survey() error {
	n, layoutErr := 0, errors.New("it is missing; tasks are looked for in all that there may be")
	err := x.files.Scan(nil, nil, func(key, value []byte) error {
		if len(key) < 2 {
			return x.ctx.Err()
		}
		p := binary.BigEndian.Uint16(key)
		switch {
		case p == layoutPartition:
			n, layoutErr = parseLayout(value)
		case p < layoutPartition:
			s := x.surveys[p]
			if s == nil {
				s = &record.Survey{Lossy: x.files.Lossy(), Windows: x.o.Each != nil}
				x.surveys[p] = s
			}
			s.Add(key, value)
		}
		return x.ctx.Err()
	})
	if x.ctx.Err() != nil {
		return x.ctx.Err()
	}
	if err != nil {
		x.Files = append(x.Files, Damage{Kind: string(pebblestore.DamagedDatabase), File: x.Dir, What: err.Error(), Bytes: -1, Records: -1})
		return nil
	}
	if layoutErr != nil && len(x.surveys) > 0 {
		x.fault(Fault{Partition: -1, Key: fmt.Sprintf("%x", layoutKey()), Record: "the number of partitions", Why: layoutErr.Error()})
		n = len(x.surveys)
	}
	x.Partitions = n
	return nil
}

// partitions are those with records.
func (x *examination) partitions() []uint16 { return slices.Sorted(maps.Keys(x.surveys)) }

func (x *examination) fault(f Fault) {
	f.Why = strings.ReplaceAll(f.Why, ": run penstock doctor", "")
	x.Faulty++
	x.Faults = append(x.Faults, f)
}

// sumUp turns the surveys into findings.
func (x *examination) sumUp() {
	for _, p := range x.partitions() {
		s := x.surveys[p]
		s.Finish()
		for i, c := range record.Classes {
			if s.Records[i] > 0 {
				x.Records[c.String()] += s.Records[i]
			}
		}
		x.Bytes += s.Bytes
		for _, f := range s.Faults {
			to := Fault{Partition: int(p), Why: f.Why}
			if f.Key != nil {
				to.Key, to.Record = fmt.Sprintf("%x", f.Key), x.holds([]pebblestore.KeyRange{{From: f.Key, To: f.Key}})
			}
			x.fault(to)
		}
		x.Faulty += s.Faulty - int64(len(s.Faults))
		for _, q := range s.Queues() {
			f := x.queue(p, q.Num)
			f.Waiting, f.Scheduled, f.Dead = f.Waiting+q.Waiting, f.Scheduled+q.Scheduled, f.Dead+q.Dead
			f.Running += min(q.Running, q.Waiting+q.Scheduled)
			f.Finished += q.Finished
			if st := q.State; st != nil {
				f.Paused, f.Settings = f.Paused || st.Paused, st.Config
				f.Missing += st.Births + st.Timed + st.Dead
			}
		}
	}
}

// missing turns the counts that queues have into what is missing of them.
func (x *examination) missing() {
	for _, name := range slices.Sorted(maps.Keys(x.found)) {
		f := x.found[name]
		f.Missing = max(0, f.Missing-f.Waiting-f.Scheduled-f.Dead)
		x.Queues = append(x.Queues, *f)
	}
	for _, d := range x.files.Damaged {
		x.Files = append(x.Files, Damage{string(d.Kind), d.Path, d.What, d.Saved, d.LostBytes, d.LostKeys, x.holds(d.Lost)})
	}
}

// queue finds a queue, under a name that is made up if its own is lost.
func (x *examination) queue(p uint16, num record.QueueNum) *QueueFound {
	name, known := x.queueName(p, num)
	f := x.found[name]
	if f == nil {
		f = &QueueFound{Name: name, Nameless: !known}
		x.found[name] = f
	}
	return f
}

func (x *examination) queueName(p uint16, num record.QueueNum) (name string, known bool) {
	if s := x.surveys[p]; s != nil {
		if name := s.QueueName(num); name != "" {
			return name, true
		}
	}
	return fmt.Sprintf("lost-queue-%d-%d", p, num), false
}

var classWords = map[record.Class]string{
	record.ClassMeta: "the partition's own state", record.ClassQueue: "settings and counts of queues",
	record.ClassMark:  "marks of lanes",
	record.ClassBirth: "waiting tasks", record.ClassChunk: "large payloads", record.ClassTimed: "scheduled tasks",
	record.ClassCalendar: "scheduled tasks",
	record.ClassExpiry:   "the expiry index", record.ClassDeadline: "the index of deadlines", record.ClassWhere: "the index of moved tasks",
	record.ClassIdem: "idempotency keys", record.ClassIdemDue: "the index of idempotency keys", record.ClassProducer: "producer sessions", record.ClassSession: "worker sessions",
	record.ClassDead: "dead letters", record.ClassFinished: "finished tasks", record.ClassSegment: "the index of finished tasks",
	record.ClassClaim: "leases", record.ClassList: "leases",
}

// holds says in words what stands between keys.
func (x *examination) holds(ranges []pebblestore.KeyRange) string {
	var words []string
	add := func(w string) {
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	for _, r := range ranges {
		from, to := int(classAt(r.From, 0)), int(classAt(r.To, 0xff))
		if len(r.From) >= 2 && len(r.To) >= 2 && binary.BigEndian.Uint16(r.From) != binary.BigEndian.Uint16(r.To) {
			from, to = 0, 0xff
		}
		for _, c := range record.Classes {
			if int(c) < from || int(c) > to {
				continue
			}
			w := classWords[c]
			if one := c == record.ClassBirth || c == record.ClassTimed || c == record.ClassCalendar || c == record.ClassDead; one && from == to && len(r.From) >= 7 && len(r.To) >= 7 {
				if a, b := binary.BigEndian.Uint32(r.From[3:]), binary.BigEndian.Uint32(r.To[3:]); a == b {
					name, _ := x.queueName(binary.BigEndian.Uint16(r.From), record.QueueNum(a))
					w += " of queue " + name
				}
			}
			add(w)
		}
	}
	if len(words) > 6 {
		return "records of all kinds"
	}
	return strings.Join(words, ", ")
}

func classAt(key []byte, otherwise byte) byte {
	if len(key) < 3 {
		return otherwise
	}
	return key[2]
}
