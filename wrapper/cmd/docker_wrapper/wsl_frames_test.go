package main

import (
	"encoding/binary"
	"io"
	"sync"
)

// What a frame holds: the command to begin with, then input, output, errors, and the end of the input or of all.
const (
	frameCommand = iota
	frameStdin
	frameStdout
	frameStderr
	frameEnd
)

// frames sends several streams over one connection: a byte for the stream, four for the length, and the content.
type frames struct {
	mu sync.Mutex
	to io.Writer
}

type stream struct {
	frames *frames
	kind   byte
}

func (f *frames) stream(kind byte) io.Writer { return stream{f, kind} }

func (s stream) Write(p []byte) (int, error) {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	frame := binary.BigEndian.AppendUint32([]byte{s.kind}, uint32(len(p)))
	if _, err := s.frames.to.Write(append(frame, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func readFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	data = make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}
