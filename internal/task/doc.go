// Package task is the vocabulary of Penstock: what a task is, how it is named,
// leased and finished, and the two ports through which everything reaches the
// queue (Broker, Inspector). It imports nothing of ours and does no I/O.
package task
