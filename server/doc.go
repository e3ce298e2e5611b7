// Package server puts the parts together: a queue in a folder, served inside the
// program, and over the network when it is told where to listen. It holds no
// rule of the queue. Its one rule: it never ends the program and never writes
// where it was not told to.
package server
