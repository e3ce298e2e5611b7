// Package penstockv1 is the generated code of Penstock's public wire, version
// 1: its messages and gRPC services. The protocol's rules stand in
// docs/protocol.md; api/generate.sh writes everything here but this file.
package penstockv1
