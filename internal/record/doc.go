// Package record is the bytes of a partition: store keys and record values, to
// and from the machine's structs. It decides nothing and reads nothing.
// Its rule: what was ever written is read for ever, and no bytes, however bad,
// make a decoder panic, guess or skip.
package record
