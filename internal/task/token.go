package task

import "encoding/binary"

// Token proves a lease: which task, which attempt, dispatched by which owner.
// Slot is where the owner keeps the lease in memory, so that finishing needs no
// look-up; it means nothing to another owner, which finds the task by Seq.
type Token struct {
	Partition uint16
	Attempt   uint16
	Epoch     uint32 // acquisition under which it was dispatched
	Nonce     uint32 // of that acquisition
	Slot      uint32
	Dispatch  uint32 // counts dispatches within the epoch
	Queue     uint32
	Seq       Seq
}

// TokenBytes is the length of a token's binary form.
const TokenBytes = 32

// AppendBinary appends the fixed 32-byte form.
func (t Token) AppendBinary(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, t.Partition)
	b = binary.BigEndian.AppendUint16(b, t.Attempt)
	b = binary.BigEndian.AppendUint32(b, t.Epoch)
	b = binary.BigEndian.AppendUint32(b, t.Nonce)
	b = binary.BigEndian.AppendUint32(b, t.Slot)
	b = binary.BigEndian.AppendUint32(b, t.Dispatch)
	b = binary.BigEndian.AppendUint32(b, t.Queue)
	return binary.BigEndian.AppendUint64(b, uint64(t.Seq))
}

// TokenFromBinary is the inverse of AppendBinary.
func TokenFromBinary(b []byte) (Token, bool) {
	if len(b) != TokenBytes {
		return Token{}, false
	}
	return Token{
		Partition: binary.BigEndian.Uint16(b),
		Attempt:   binary.BigEndian.Uint16(b[2:]),
		Epoch:     binary.BigEndian.Uint32(b[4:]),
		Nonce:     binary.BigEndian.Uint32(b[8:]),
		Slot:      binary.BigEndian.Uint32(b[12:]),
		Dispatch:  binary.BigEndian.Uint32(b[16:]),
		Queue:     binary.BigEndian.Uint32(b[20:]),
		Seq:       Seq(binary.BigEndian.Uint64(b[24:])),
	}, true
}

// String is the token as curl users see it: base32 of the binary form.
func (t Token) String() string {
	var raw [TokenBytes]byte
	return idText.EncodeToString(t.AppendBinary(raw[:0]))
}

// ParseToken reads what String wrote.
func ParseToken(s string) (Token, error) {
	raw, err := idText.DecodeString(s)
	if err == nil {
		if t, ok := TokenFromBinary(raw); ok && t.String() == s { // the decoder passes over line ends and spare bits
			return t, nil
		}
	}
	return Token{}, Errorf(Invalid, "not a lease token: copy it whole from the lease's answer")
}

// Fence is a number that rises with every dispatch of the task over all owners
// of its partition: hand it to an external system to refuse a stale worker.
func (t Token) Fence() uint64 { return uint64(t.Epoch)<<SeqCounterBits | uint64(t.Dispatch) }
