package partition

import (
	"maps"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// unaryWorkers are the names that holders of unary leases gave themselves. The
// machine knows workers by their sessions alone; here their names are kept until
// their task's record is written anew. Where none is, as in a queue that keeps no
// history, they are looked for now and then. It is the loop's own.
type unaryWorkers map[task.Seq]string

// noteUnary remembers who has leased outside any session.
func (r *Runner) noteUnary(l *queue.Leased) {
	if l.Lease == nil || l.Lease.Worker == "" {
		if len(r.unary) > 0 {
			delete(r.unary, l.Place.Seq)
		}
		return
	}
	if r.unary == nil {
		r.unary = make(unaryWorkers)
	}
	if len(r.unary) >= r.unaryLook {
		r.dropHolders()
	}
	if len(r.unary) < unaryWorkersMax {
		r.unary[l.Place.Seq] = l.Lease.Worker
	}
}

// dropHolders forgets the names of those who hold their task no longer. What has
// ended in this turn is encoded.
func (r *Runner) dropHolders() {
	maps.DeleteFunc(r.unary, func(seq task.Seq, _ string) bool {
		v, here := r.m.Find(seq)
		return !here || v.State != task.Running || v.Session != 0
	})
	r.unaryLook = max(unaryLookMin, 2*len(r.unary))
}

// take is the name of who held the task outside any session, if it was told, and
// forgets it.
func (u unaryWorkers) take(seq task.Seq) string {
	if len(u) == 0 {
		return ""
	}
	name, ok := u[seq]
	if ok {
		delete(u, seq)
	}
	return name
}

// nameUnary fills in the worker of a unary lease, for those who look.
func (r *Runner) nameUnary(seq task.Seq, v *queue.TaskView) {
	if v.State == task.Running && v.Session == 0 && v.Worker == "" {
		v.Worker = r.unary[seq]
	}
}
