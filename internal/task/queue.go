package task

import "fmt"

// CheckDelete says what stands against deleting the queue, and what to do about
// it. Tasks that run do so even by force, and those that may be running.
func (q *QueueInfo) CheckDelete(force bool) *Error {
	if q.Running > 0 {
		return Errorf(Conflict, "queue %q has %s: pause it and let what runs end, or cancel that, and then delete it", q.Name, count(q.Running, "running task", "running tasks"))
	}
	if q.Blocked > 0 {
		return Errorf(Conflict, "queue %q has %s that may be running, as a worker is not back since the server was started: wait some seconds, and delete it again",
			q.Name, count(q.Blocked, "blocked task", "blocked tasks"))
	}
	if force || q.Scheduled+q.Ready+q.Dead == 0 {
		return nil
	}
	has := ""
	add := func(n int64, one, many string) {
		if n == 0 {
			return
		}
		if has != "" {
			has += ", "
		}
		has += count(n, one, many)
	}
	add(q.Ready, "ready task", "ready tasks")
	add(q.Scheduled, "scheduled task", "scheduled tasks")
	add(q.Dead, "dead letter", "dead letters")
	return Errorf(Conflict, "queue %q is not empty, it has %s: let them be done, purge them, or delete it by force", q.Name, has)
}

func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
