package record

import "github.com/penstock-io/penstock/internal/queue"

// Revived reads what a dead letter, or a finished record that kept its body,
// says for the task's next life: its lane's names, its policy and when it was enqueued.
func (d *Decoder) Revived(key, value []byte, w *queue.Waiting) error {
	_, c, err := ClassOf(key)
	if err != nil {
		return err
	}
	var v view
	if c == ClassDead {
		if _, v, err = parseDead(key, value); err != nil {
			return err
		}
	} else {
		k, err := ParseFinishedKey(key)
		if err != nil {
			return err
		}
		var f finishedView
		if err := f.parse(value); err != nil {
			return err
		}
		v = f.view()
		v.born.Seq = k.Seq
	}
	*w = queue.Waiting{Place: v.born, Enqueued: v.enqueued, Deadline: v.deadline, Counts: v.counts, Flags: v.flags, Size: len(value)}
	if w.Names, err = d.names(&v); err == nil && v.policy != nil {
		w.Policy, err = d.policy(c, v.policy)
	}
	return err
}
