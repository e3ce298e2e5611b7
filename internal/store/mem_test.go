package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/storetest"
)

func openMem(o store.MemOptions) storetest.Open {
	return func(tb testing.TB) storetest.Engine {
		m := store.NewMem(o)
		return storetest.Engine{
			Store:  m,
			Reopen: func() store.Store { m.Close(); m.Reopen(); return m },
			Crash:  func() store.Store { m.Crash(m.Pending() / 2); return m },

			InMemory: true,
		}
	}
}

func TestMem(t *testing.T) { storetest.Run(t, openMem(store.MemOptions{})) }

func TestMemManual(t *testing.T) {
	storetest.Run(t, openMem(store.MemOptions{Manual: true, PunishSingleDelete: true}))
}

// hiding shows some of what has begun, at random.
func hiding() store.MemOptions {
	rnd := rand.New(rand.NewPCG(2, 3))
	return store.MemOptions{Manual: true, PunishSingleDelete: true, Shows: func(_ uint16, pending int) int { return rnd.IntN(pending + 1) }}
}

func TestMemHiding(t *testing.T) { storetest.Run(t, openMem(hiding())) }

func BenchmarkMem(b *testing.B) { storetest.Bench(b, openMem(store.MemOptions{})) }
