//go:build race

package partition

func init() { raced = true }
