// Package penstock enqueues tasks, runs them in workers and brings back their
// results, over a Penstock server or one inside the program (package server).
// It holds no queue itself. Its one rule: what it has acknowledged is durable.
package penstock
