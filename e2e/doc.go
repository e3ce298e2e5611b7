// Package e2e tries the built binary as its users do: real processes, real
// sockets, kill -9, full disks. It holds no code of the product. Its rule: what
// it checks is what was promised to users, seen from outside.
package e2e
