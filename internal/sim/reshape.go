package sim

import (
	"context"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// Purges, changes of width and deletions, which touch many tasks at once.

// reshape changes a queue as a whole.
func (w *world) reshape() {
	queue := queueNames[w.dice.IntN(len(queueNames))]
	switch k := w.dice.IntN(10); {
	case k < 4:
		w.purge(queue)
	case k < 5:
		w.calmly(w.shortLived)
	case k < 7:
		w.calmly(func() { w.purgeAtRest(queue) })
	case w.parts > 1:
		w.calmly(func() { w.changeWidth(queue) })
	}
}

// calmly spares the world the faults of its store for a while.
func (w *world) calmly(do func()) {
	was := w.faulty
	w.faulty = false
	do()
	w.faulty = was
}

// what may be purged together.
var purges = [][]task.State{
	{task.Ready}, {task.Scheduled}, {task.Dead}, {task.Ready, task.Scheduled}, {task.Ready, task.Scheduled}, {task.Ready, task.Scheduled, task.Dead},
}

// purge empties a queue in the midst of things: of no task can be said whether it
// waited. But what the purges count is what is missing at the end.
func (w *world) purge(queue string) {
	states := purges[w.dice.IntN(len(purges))]
	for _, x := range w.led.sent {
		x.purged = x.purged || x.queue == queue
	}
	w.last = states
	w.led.purges[queue]++
	n, err := w.sys.Purge(context.Background(), queue, states)
	w.log("purge %v of queue %q: %d, %v", states, queue, n, err)
	w.led.purged[queue] += n
	if err != nil || w.dying {
		w.led.unsure[queue] = true
	}
	if code := task.CodeOf(err); code != task.OK && code != task.NotFound && code != task.Unavailable {
		w.led.cry("answer", "a purge of queue %q got %v", queue, err)
	}
	w.died()
}

// purgeAtRest purges while nothing else happens: then it is known which tasks go.
func (w *world) purgeAtRest(queue string) {
	w.rest()
	if !w.o.Plain && !w.o.Narrow { // what is late already is done a moment later
		w.now++
		w.rest()
	}
	before, found := w.infoOf(queue)
	if !found {
		return
	}
	var some []*known
	for _, i := range w.dice.Perm(len(w.led.order))[:min(60, len(w.led.order))] {
		if k := w.led.order[i]; w.led.sent[k.key].queue == queue {
			some = append(some, k)
		}
	}
	states := make([]task.State, len(some))
	for i, k := range some {
		if in, err := w.sys.Get(context.Background(), k.id); err == nil {
			states[i] = in.State
		}
	}
	sum := w.led.purged[queue]
	w.purge(queue)
	sum = w.led.purged[queue] - sum
	after, _ := w.infoOf(queue)
	if live(before)+before.Dead-live(after)-after.Dead != sum || after.Running < before.Running || !roomOnly(before, after) && w.shakes == 0 ||
		before.Enqueued != after.Enqueued || before.Succeeded != after.Succeeded || before.Canceled != after.Canceled || before.Expired != after.Expired {
		w.led.cry("purged", "a purge of %d tasks of queue %q made %+v of %+v", sum, queue, after, before)
	}
	if what := w.last; slices.Contains(what, task.Ready) && slices.Contains(what, task.Scheduled) && live(after) > after.Running+after.Blocked && w.restful() {
		if after, _ = w.infoOf(queue); live(after) > after.Running+after.Blocked {
			w.led.cry("purged", "a purge of %v in queue %q left %+v", what, queue, after)
		}
	}
	for i, k := range some {
		in, err := w.sys.Get(context.Background(), k.id)
		switch {
		case err == nil && in.State == states[i]:
		case task.CodeOf(err) == task.NotFound:
			k.purged = true
			if states[i] == task.Running || states[i].Final() && states[i] != task.Dead {
				w.led.cry("purged", "%s was %v and went with a purge", k.key, states[i])
			}
		case err == nil && states[i] == task.Scheduled: // read now that there is room
		case err == nil && states[i] == task.Ready && in.State == task.Running && (k.id.Class.Timed() || in.Counts != (task.Counts{})):
			// It was due and in the store alone, where the timed count as scheduled.
		case err == nil && (in.State == task.Blocked || states[i] == task.Blocked) && w.now < w.shookLast.Add(adoptFor+graceFor): // likewise, and it may be running
		default:
			w.led.cry("purged", "%s was %v before a purge and is %v after it, %v", k.key, states[i], in.State, err)
		}
	}
}

// roomOnly says whether a purge let no more tasks run than it brought into memory:
// those whose time had come while there was no room for them.
func roomOnly(before, after task.QueueInfo) bool {
	more := after.Running - before.Running
	return more == 0 || more > 0 && more <= before.Scheduled-after.Scheduled
}

func live(q task.QueueInfo) int64 { return q.Scheduled + q.Ready + q.Blocked + q.Running }

func (w *world) infoOf(queue string) (task.QueueInfo, bool) {
	infos, err := w.sys.Queues(context.Background(), []string{queue})
	if err != nil || len(infos) != 1 {
		return task.QueueInfo{}, false
	}
	return infos[0], true
}

// changeWidth makes a queue wider or narrower once no number of it is unanswered:
// what is repeated over a change may go to another partition than before.
func (w *world) changeWidth(queue string) {
	open := func() bool {
		return slices.ContainsFunc(w.producers, func(p *producer) bool { return p.queue == queue && len(p.open) > 0 })
	}
	for i := 0; i < 20 && open(); i++ {
		for _, p := range w.producers {
			if p.queue == queue {
				p.resend()
			}
		}
		w.rest()
	}
	if open() {
		return
	}
	width := 1 + w.dice.IntN(w.parts)
	for range openMax { // a partition may still be away for an earlier fault
		_, err := w.sys.SetQueue(context.Background(), queue, task.QueuePatch{Width: &width})
		w.log("width %d of queue %q: %v", width, queue, err)
		for _, k := range w.workers { // in a partition that the queue is given a session begins
			w.sessions[k.id()] = max(w.sessions[k.id()], w.now.Add(k.lasts()))
		}
		if code := task.CodeOf(err); code == task.OK {
			return
		} else if code != task.Unavailable {
			break
		}
		w.rest()
	}
	w.led.cry("answer", "queue %q can't be given width %d", queue, width)
}

// unheard counts the tasks that were sent to a queue and never heard of again.
func (l *ledger) unheard(queue string) (n int64) {
	for key, x := range l.sent {
		if _, ok := l.byKey[key]; !ok && x.queue == queue {
			n++
		}
	}
	return n
}

// checkPurged wants what is missing at the end to be what the purges counted.
// gone are the tasks known that went with one.
func (w *world) checkPurged(queue string, c tally, gone, known int64) {
	l := w.led
	unknown := c.enqueued - known // never answered, and purged before anybody saw them
	unheard := l.unheard(queue)
	ended := c.succeeded + c.dead + c.canceled + c.expired
	switch {
	case unknown < 0 || unknown > unheard:
		l.cry("counts", "queue %q: %d were enqueued, %d are known of, of %d nothing was heard", queue, c.enqueued, known, unheard)
	case l.unsure[queue] || w.deletes || w.shape.keep != 0:
	case gone+unknown != l.purged[queue]:
		l.cry("purged", "queue %q: %d were purged, %d are missing", queue, l.purged[queue], gone+unknown)
	case ended+gone+unknown != c.enqueued:
		l.cry("purged", "queue %q: %d were purged, and %+v does not add up", queue, l.purged[queue], c)
	}
}
