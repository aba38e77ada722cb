package boinc

import (
	"errors"
	"strings"
	"sync/atomic"
	"unsafe"
)

// Channel is one of the eight message slots of the shared memory segment.
type Channel int

// The channels in the order of the segment (spec 07 §2.2).
const (
	ControlRequest Channel = iota // client to app
	ControlReply                  // unused
	GraphicsRequest
	GraphicsReply // app to client
	Heartbeat     // client to app
	AppStatus     // app to client
	TrickleUp     // app to client
	TrickleDown   // client to app
)

const (
	channelSize = 1024
	maxText     = channelSize - 2 // flag byte in front, NUL behind
	// SegmentSize is the size of the whole segment in bytes.
	SegmentSize = 8 * channelSize
)

// Segment is the shared memory between client and program. There is no lock
// and no event: each channel has one writer and one reader, and its first byte
// says whether it is full. The first four bytes of a channel (flag and three
// bytes of text) are read and written as one atomic word, so that the text is in
// place before the flag on every CPU; all supported targets are little-endian.
type Segment struct{ mem []byte }

// NewSegment wraps mapped memory of at least SegmentSize bytes, aligned to 4.
func NewSegment(mem []byte) (*Segment, error) {
	if len(mem) < SegmentSize {
		return nil, errors.New("shared memory segment is too small")
	}
	if uintptr(unsafe.Pointer(&mem[0]))%4 != 0 {
		return nil, errors.New("shared memory segment is not aligned")
	}
	return &Segment{mem: mem[:SegmentSize]}, nil
}

func (s *Segment) channel(c Channel) (word *uint32, rest []byte) {
	b := s.mem[int(c)*channelSize : (int(c)+1)*channelSize]
	return (*uint32)(unsafe.Pointer(&b[0])), b[4:]
}

// Full tells whether a message waits in the channel.
func (s *Segment) Full(c Channel) bool {
	word, _ := s.channel(c)
	return atomic.LoadUint32(word)&0xff != 0
}

// Send puts text into the channel, cut at a NUL and at 1022 bytes. It returns
// false, and changes nothing, when the previous message is still unread.
func (s *Segment) Send(c Channel, text string) bool {
	word, rest := s.channel(c)
	old := atomic.LoadUint32(word)
	if old&0xff != 0 {
		return false
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	if len(text) > maxText {
		text = text[:maxText]
	}
	msg := text + "\x00"
	if len(msg) > 3 {
		copy(rest, msg[3:])
	}
	first := old&^0xff | 1
	for i := 0; i < 3 && i < len(msg); i++ {
		shift := uint(8 * (i + 1))
		first = first&^(0xff<<shift) | uint32(msg[i])<<shift
	}
	atomic.StoreUint32(word, first)
	return true
}

// Receive takes the message out of the channel; ok is false when there is none.
func (s *Segment) Receive(c Channel) (text string, ok bool) {
	word, rest := s.channel(c)
	first := atomic.LoadUint32(word)
	if first&0xff == 0 {
		return "", false
	}
	buf := make([]byte, 0, channelSize)
	buf = append(buf, byte(first>>8), byte(first>>16), byte(first>>24))
	buf = append(buf, rest...)
	atomic.StoreUint32(word, first&^0xff)
	if len(buf) > maxText {
		buf = buf[:maxText]
	}
	text = string(buf)
	if i := strings.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	return text, true
}
