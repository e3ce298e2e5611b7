package server

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
)

// Findings are what Examine has seen in a data folder.
type Findings struct {
	Partitions int
	Bytes      int64            // of all records
	Records    map[string]int64 // readable ones, by what they are: "birth", "timed", "dead letter", "finished" …
	Faults     []Fault          // the first hundred a partition
	Faulty     int64            // all of them
}

// Fault is one thing that is wrong with a folder.
type Fault struct {
	Partition int
	Key       string // of the record in question, in hex; "" when it is about several
	Why       string
}

// Waiting, Scheduled, Dead and Finished are tasks that can be read, and so be
// saved.
func (f *Findings) Waiting() int64 { return f.Records[record.ClassBirth.String()] }

// Scheduled counts tasks that wait for a time, retries too.
func (f *Findings) Scheduled() int64 { return f.Records[record.ClassTimed.String()] }

// Dead counts dead letters.
func (f *Findings) Dead() int64 { return f.Records[record.ClassDead.String()] }

// Finished counts finished tasks still remembered.
func (f *Findings) Finished() int64 { return f.Records[record.ClassFinished.String()] }

// Examine reads a whole data folder, changes no task in it and says what is
// wrong. The folder must not be in use. An error means that it can't be read at
// all.
func Examine(ctx context.Context, dir string) (*Findings, error) {
	names, err := os.ReadDir(dir) // to open a folder that is not there would make it
	if err != nil {
		return nil, fmt.Errorf("examine a data folder: %w: name the folder that the server uses", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("examine a data folder: %s is empty: name the folder that the server uses", dir)
	}
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		return nil, err
	}
	f := &Findings{Records: map[string]int64{}}
	err = f.examine(ctx, st)
	if e := st.Close(); err == nil && e != nil {
		err = fmt.Errorf("close data folder %s: %w", dir, e)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Findings) examine(ctx context.Context, st store.Store) error {
	part, err := st.Acquire(ctx, layoutPartition, "doctor")
	if err != nil {
		return fmt.Errorf("read the number of partitions: %w", err)
	}
	n, err := readLayout(part)
	if e := part.Release(); err == nil && e != nil {
		return fmt.Errorf("read the number of partitions: %w", e)
	}
	if err != nil || n == 0 {
		if err == nil {
			err = errors.New("the number of partitions is missing; tasks are looked for in all that there may be")
		}
		f.fault(Fault{Partition: layoutPartition, Key: fmt.Sprintf("%x", layoutKey()), Why: err.Error()})
		n = partitionsMax
	}
	f.Partitions = n
	for p := range n {
		if err := f.partition(ctx, st, uint16(p)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Findings) fault(x Fault) {
	f.Faulty++
	f.Faults = append(f.Faults, x)
}

// partition surveys one partition. Bytes that the engine can't read end the
// survey of the partition, not of the folder.
func (f *Findings) partition(ctx context.Context, st store.Store, p uint16) error {
	part, err := st.Acquire(ctx, p, "doctor")
	if err != nil {
		return fmt.Errorf("open partition %d: %w", p, err)
	}
	var s record.Survey
	var last []byte
	it := part.Scan(nil, nil)
	for it.Next() {
		last = append(last[:0], it.Key()...)
		s.Add(it.Key(), it.Value())
		if ctx.Err() != nil {
			break
		}
	}
	scanErr := it.Close()
	if err := ctx.Err(); err != nil {
		return errors.Join(err, part.Release())
	}
	if scanErr == nil {
		s.Finish()
	}
	for i, c := range record.Classes {
		if s.Records[i] > 0 {
			f.Records[c.String()] += s.Records[i]
		}
	}
	f.Bytes += s.Bytes
	for _, x := range s.Faults {
		f.Faults = append(f.Faults, Fault{Partition: int(p), Key: fmt.Sprintf("%x", x.Key), Why: x.Why})
	}
	f.Faulty += s.Faulty
	if scanErr != nil {
		f.fault(Fault{Partition: int(p), Key: fmt.Sprintf("%x", last), Why: fmt.Sprintf("records after this one can't be read: %v", scanErr)})
		return nil
	}
	if err := part.Release(); err != nil {
		return fmt.Errorf("close partition %d: %w", p, err)
	}
	return nil
}
