package store

import "encoding/binary"

// Durable reads a key as a crash at this moment would leave it, whoever holds its
// partition: a simulator holds what was answered against it.
func (m *Mem) Durable(key []byte) (value []byte, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.parts[binary.BigEndian.Uint16(key)]
	if p == nil {
		return nil, false
	}
	it, found := p.durable.get(key)
	return it.value, found
}
