// Package queue is the pure machine of one partition: every rule of the queue,
// once. Commands and time go in, decisions come out (Output); it does no I/O,
// has no clock, goroutine or randomness. Engines, wire and loops are elsewhere.
package queue
