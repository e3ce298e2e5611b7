package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Decoder reads records. It keeps policies and short texts that many tasks
// share, so that reading a task of the common shape allocates nothing. The zero
// value is ready; one goroutine at a time.
type Decoder struct {
	policies map[string]*task.Policy
	texts    map[string]string
}

const (
	textsMax   = 256 // shared texts kept
	textLenMax = 64  // longest text that is kept
)

// shared is a string for raw that is kept for the next record.
func (d *Decoder) shared(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	if len(raw) > textLenMax {
		return string(raw)
	}
	if s, ok := d.texts[string(raw)]; ok {
		return s
	}
	if d.texts == nil || len(d.texts) >= textsMax {
		d.texts = make(map[string]string)
	}
	s := string(raw)
	d.texts[s] = s
	return s
}

// Waiting reads a live record, birth or timed, as the machine needs it.
// w.Cached is left to the caller.
func (d *Decoder) Waiting(key, value []byte, w *queue.Waiting) error {
	pl, err := ParsePlaceKey(key)
	if err != nil {
		return err
	}
	var v view
	if err := v.parse(Class(key[2]), value); err != nil {
		return err
	}
	w.Place, w.Enqueued, w.Expires, w.Deadline, w.Counts = pl, v.enqueued, v.expires, v.deadline, v.counts
	w.After, w.Told = v.after, v.toldOf(key, pl.Queue, pl.Seq)
	w.Flags, w.Size, w.Policy, w.Cached, w.Names = v.flags, len(value), nil, false, queue.Names{}
	if v.policy != nil {
		w.Policy, err = d.policy(Class(key[2]), v.policy)
	}
	return err
}

// Named is Waiting with the names of the task's lane.
func (d *Decoder) Named(key, value []byte, w *queue.Waiting) error {
	if err := d.Waiting(key, value, w); err != nil {
		return err
	}
	var v view
	err := v.parse(Class(key[2]), value)
	if err == nil {
		w.Names, err = d.names(&v)
	}
	return err
}

func (d *Decoder) names(v *view) (queue.Names, error) {
	n := queue.Names{Type: d.shared(v.typ), Key: d.shared(v.key)}
	if len(v.limits) > 0 {
		r := reader{b: v.limits}
		n.Limits = d.strings(&r)
		return n, r.close(ClassBirth)
	}
	return n, nil
}

// Delivery reads from the live record at pl what a worker gets: ID, priority,
// payload, headers and the like. The payload aliases value. Queue, Type, Key,
// Token, Attempt, MaxAttempts, Timeout and LeaseEnd are left to the caller. When
// the payload is large its length is returned, and its chunks are found under
// AppendChunkKey of PlaceOf(out.ID).
func (d *Decoder) Delivery(p uint16, pl queue.Place, value []byte, out *task.Delivery) (large int, err error) {
	c := LiveClass(pl.Class)
	var v view
	if err := v.parse(c, value); err != nil {
		return 0, err
	}
	born := pl
	if v.moved {
		born, born.Seq = v.born, pl.Seq
	}
	out.ID, out.Priority, out.Counts, out.EnqueuedAt, out.Deadline = IDOf(p, born), pl.Prio, v.counts, v.enqueued, v.ends()
	var body body
	if err := body.read(d, v.body, c); err != nil {
		return 0, err
	}
	out.Payload, out.ContentType, out.Headers, out.Tags = body.payload, body.contentType, body.headers, body.tags
	return body.large, nil
}

// body is a body's parts.
type body struct {
	tags        []string
	headers     []task.Header
	contentType string
	idem        string
	payload     []byte
	large       int
}

func (b *body) read(d *Decoder, raw []byte, c Class) error {
	r := reader{b: raw}
	has := r.bits16(bodyKnown)
	if has == 0 {
		b.payload = r.bytes()
		return r.close(c)
	}
	if has&bodyTags != 0 {
		b.tags = d.strings(&r)
	}
	if has&bodyHeaders != 0 {
		if n := r.number(uint64(len(r.b)) / 2); n > 0 {
			b.headers = make([]task.Header, n)
			for i := range b.headers {
				b.headers[i] = task.Header{Name: d.shared(r.bytes()), Value: r.text()}
			}
		}
	}
	if has&bodyContentType != 0 {
		b.contentType = d.shared(r.bytes())
	}
	if has&bodyIdem != 0 {
		b.idem = r.text()
	}
	if has&bodyLarge != 0 {
		b.large = int(r.number(largeMax))
	} else {
		b.payload = r.bytes()
	}
	return r.close(c)
}

func (d *Decoder) strings(r *reader) []string {
	n := r.number(uint64(len(r.b)))
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.shared(r.bytes())
	}
	return out
}

// LiveInfo reads the live record at pl as people see it. State is Scheduled or
// Ready as the record alone can tell; Queue is left to the caller.
// Texts and payload are copies. large as for Delivery.
func (d *Decoder) LiveInfo(p uint16, pl queue.Place, value []byte, out *task.Info) (large int, err error) {
	c := LiveClass(pl.Class)
	var v view
	if err := v.parse(c, value); err != nil {
		return 0, err
	}
	born := pl
	if v.moved {
		born, born.Seq = v.born, pl.Seq
	}
	*out = task.Info{ID: IDOf(p, born), State: task.Ready, Priority: pl.Prio, ReadyAt: v.enqueued}
	if pl.Class.Timed() {
		out.State, out.ReadyAt = task.Scheduled, pl.Due
	}
	return d.info(c, &v, out)
}

// DeadInfo reads a dead letter as people see it; otherwise as LiveInfo.
func (d *Decoder) DeadInfo(key, value []byte, out *task.Info) (large int, err error) {
	k, v, err := parseDead(key, value)
	if err != nil {
		return 0, err
	}
	*out = task.Info{ID: IDOf(binary.BigEndian.Uint16(key), v.born), State: task.Dead, Priority: v.born.Prio, FinishedAt: k.Finished}
	return d.info(ClassDead, &v, out)
}

// Dead reads a dead letter for the machine. Size is what it was put with, so that
// a queue's count comes out even. Attempt and From are left as they are.
func (d *Decoder) Dead(key, value []byte, out *queue.DeadLetter) error {
	k, v, err := parseDead(key, value)
	if err != nil {
		return err
	}
	out.Key, out.Place, out.Counts, out.Flags, out.Reason, out.Size = k, v.born, v.counts, v.flags, string(v.reason), v.size
	out.Told = v.toldOf(key, k.Queue, k.Seq)
	return nil
}

// toldOf fills in what the key says.
func (v *view) toldOf(key []byte, queueNum queue.QueueNum, seq task.Seq) queue.Told {
	t := v.told
	if t.Set() {
		t.Token.Partition, t.Token.Queue, t.Token.Seq = binary.BigEndian.Uint16(key), uint32(queueNum), seq
	}
	return t
}

func parseDead(key, value []byte) (queue.DeadKey, view, error) {
	var v view
	k, err := ParseDeadKey(key)
	if err != nil {
		return k, v, err
	}
	if err := v.parse(ClassDead, value); err != nil {
		return k, v, err
	}
	if !v.moved {
		return k, v, &Error{Class: ClassDead, Why: "the value doesn't tell where the task was born", Kind: ErrCorrupt}
	}
	v.born.Seq = k.Seq
	return k, v, nil
}

// FinishedInfo reads a finished record as people see it; otherwise as LiveInfo.
func (d *Decoder) FinishedInfo(key, value []byte, out *task.Info) (large int, err error) {
	k, err := ParseFinishedKey(key)
	if err != nil {
		return 0, err
	}
	var f finishedView
	if err := f.parse(value); err != nil {
		return 0, err
	}
	f.born.Seq = k.Seq
	v := f.view()
	*out = task.Info{
		ID: IDOf(binary.BigEndian.Uint16(key), f.born), State: f.state, Priority: f.place.Prio,
		StartedAt: f.started, FinishedAt: f.ended, Worker: string(f.worker),
		Result: copyOf(f.result), ResultType: d.shared(f.resultType), Log: copyOf(f.log),
	}
	v.reason = f.reason
	return d.info(ClassFinished, &v, out)
}

// info fills in what all three kinds of record tell alike.
func (d *Decoder) info(c Class, v *view, out *task.Info) (large int, err error) {
	out.Counts, out.EnqueuedAt, out.ExpiresAt, out.Deadline, out.Reason = v.counts, v.enqueued, v.expires, v.deadline, string(v.reason)
	if c != ClassDead && c != ClassFinished {
		out.Deadline = v.ends()
	}
	out.Type, out.Key = d.shared(v.typ), d.shared(v.key)
	if v.policy != nil {
		p, err := d.policy(c, v.policy)
		if err != nil {
			return 0, err
		}
		out.MaxAttempts = p.MaxAttempts
	}
	if out.Attempts, err = v.attempts.appendTo(c, nil); err != nil {
		return 0, err
	}
	if v.last != nil {
		out.Attempts = append(out.Attempts, *v.last)
		if n := len(out.Attempts); n > task.AttemptsShownMax {
			out.Attempts = out.Attempts[n-task.AttemptsShownMax:]
		}
	}
	if n := len(out.Attempts); n > 0 {
		last := &out.Attempts[n-1]
		out.Error = last.Error
		if out.Worker == "" {
			out.Worker = last.Worker
		}
		if out.StartedAt == 0 {
			out.StartedAt = last.Started
		}
	}
	if v.body == nil {
		return 0, nil
	}
	var b body
	if err := b.read(d, v.body, c); err != nil {
		return 0, err
	}
	out.PayloadKept = c != ClassFinished || b.large == 0 // the chunks go when the task ends
	out.Payload, out.ContentType, out.Headers, out.Tags = copyOf(b.payload), b.contentType, b.headers, b.tags
	return b.large, nil
}

func copyOf(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

// Idempotency reads the idempotency key out of a live record, a dead letter or a
// finished record that kept its body; "" when it has none.
func (d *Decoder) Idempotency(key, value []byte) (string, error) {
	_, c, err := ClassOf(key)
	if err != nil {
		return "", err
	}
	var v view
	if c == ClassFinished {
		var f finishedView
		if err := f.parse(value); err != nil || f.body == nil {
			return "", err
		}
		v.body = f.body
	} else if err := v.parse(c, value); err != nil {
		return "", err
	}
	var b body
	if err := b.read(d, v.body, c); err != nil {
		return "", err
	}
	return b.idem, nil
}
