package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// conn is one keep-alive HTTP/1.1 connection, as cheap as it can be: the generator shares the machine with the
// server. Not safe for concurrent use.
type conn struct {
	address string
	host    string
	net     net.Conn
	reader  *bufio.Reader
	head    []byte
	body    []byte
}

func newConn(target *url.URL, connect string) *conn {
	address := target.Host
	if connect != "" {
		address = connect
	} else if target.Port() == "" {
		address += ":80"
	}
	return &conn{address: address, host: target.Host}
}

func (c *conn) close() {
	if c.net != nil {
		c.net.Close()
		c.net = nil
	}
}

// post sends body and returns the reply's body, valid until the next call. A connection that the server closed
// between two requests is opened again once; any other failure is returned.
func (c *conn) post(path, contentType string, body []byte) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		fresh := c.net == nil
		if fresh {
			dialed, err := net.DialTimeout("tcp", c.address, 10*time.Second)
			if err != nil {
				return nil, err
			}
			c.net, c.reader = dialed, bufio.NewReaderSize(dialed, 16384)
		}
		reply, err := c.exchange(path, contentType, body)
		if err == nil {
			return reply, nil
		}
		c.close()
		if fresh || attempt > 0 || !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") &&
			!strings.Contains(err.Error(), "broken pipe") {
			return nil, err
		}
	}
}

func (c *conn) exchange(path, contentType string, body []byte) ([]byte, error) {
	c.net.SetDeadline(time.Now().Add(120 * time.Second))
	c.head = append(c.head[:0], "POST "...)
	c.head = append(c.head, path...)
	c.head = append(c.head, " HTTP/1.1\r\nHost: "...)
	c.head = append(c.head, c.host...)
	c.head = append(c.head, "\r\nUser-Agent: BOINC client (x86_64-pc-linux-gnu 8.2.15)\r\nContent-Type: "...)
	c.head = append(c.head, contentType...)
	c.head = append(c.head, "\r\nContent-Length: "...)
	c.head = strconv.AppendInt(c.head, int64(len(body)), 10)
	c.head = append(c.head, "\r\n\r\n"...)
	c.head = append(c.head, body...)
	if _, err := c.net.Write(c.head); err != nil {
		return nil, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	status := string(line)
	length, closing := -1, false
	for {
		line, err = c.reader.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("reply cut off: %w", io.ErrUnexpectedEOF)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := strings.Cut(string(line), ":"); ok {
			switch strings.ToLower(name) {
			case "content-length":
				length, _ = strconv.Atoi(strings.TrimSpace(value))
			case "connection":
				closing = strings.EqualFold(strings.TrimSpace(value), "close")
			}
		}
	}
	if length < 0 {
		return nil, errors.New("reply without Content-Length: " + strings.TrimSpace(status))
	}
	if cap(c.body) < length {
		c.body = make([]byte, length*2)
	}
	c.body = c.body[:length]
	if _, err = io.ReadFull(c.reader, c.body); err != nil {
		return nil, fmt.Errorf("reply cut off: %w", io.ErrUnexpectedEOF)
	}
	if closing {
		c.close()
	}
	if !strings.Contains(status, " 200 ") {
		return nil, errors.New("HTTP " + strings.TrimSpace(status))
	}
	return c.body, nil
}
