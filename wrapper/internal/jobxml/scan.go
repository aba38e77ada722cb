package jobxml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// node is one element. Its body lies at src[start:end]; line is that of its start tag.
type node struct {
	name       string
	line       int
	start, end int
	empty      bool // written as <name/>
}

// source is the file with comments blanked, so that positions stay what they are.
type source struct {
	text  []byte
	lines []int // offsets of the line feeds
	warn  func(line int, format string, a ...any)
}

// Error is a mistake in job.xml.
type Error struct {
	Line    int
	Element string // "" if it is about the file as a whole
	Message string
}

func (e *Error) Error() string {
	where := fmt.Sprintf("job.xml line %d: ", e.Line)
	if e.Element != "" {
		where += "<" + e.Element + ">: "
	}
	return where + e.Message
}

func newSource(raw []byte, warn func(int, string, ...any)) (*source, error) {
	s := &source{text: bytes.Clone(raw), warn: warn}
	for i, c := range raw {
		if c == '\n' {
			s.lines = append(s.lines, i)
		}
	}
	for at := 0; ; {
		i := bytes.Index(s.text[at:], []byte("<!--"))
		if i < 0 {
			return s, nil
		}
		begin := at + i
		n := bytes.Index(s.text[begin+4:], []byte("-->"))
		if n < 0 {
			return nil, &Error{Line: s.line(begin), Message: "comment without -->"}
		}
		at = begin + 4 + n + 3
		for j := begin; j < at; j++ {
			if s.text[j] != '\n' && s.text[j] != '\r' {
				s.text[j] = ' '
			}
		}
	}
}

// line is the number of the line that holds an offset, from 1.
func (s *source) line(offset int) int {
	lo, hi := 0, len(s.lines)
	for lo < hi {
		if mid := (lo + hi) / 2; s.lines[mid] < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo + 1
}

// children lists the elements of src[start:end]. A leaf's body may hold any text but its own end tag, as
// with the clients' reader: command lines often have a lone < or &.
func (s *source) children(start, end int, parent string) ([]node, error) {
	var out []node
	for at := start; at < end; {
		lt := bytes.IndexByte(s.text[at:end], '<')
		text := s.text[at:end]
		if lt >= 0 {
			text = s.text[at : at+lt]
		}
		if trimmed := bytes.TrimLeft(text, " \t\r\n\v\f"); len(trimmed) > 0 {
			where := at + len(text) - len(trimmed)
			s.warn(s.line(where), "text between elements is ignored: %q", shorten(string(bytes.TrimSpace(trimmed))))
		}
		if lt < 0 {
			break
		}
		at += lt
		n, next, err := s.element(at, end, parent)
		if err != nil {
			return nil, err
		}
		if n.name != "" {
			out = append(out, n)
		}
		at = next
	}
	return out, nil
}

// element reads the tag at an offset. A declaration gives a node without a name.
func (s *source) element(at, end int, parent string) (n node, next int, err error) {
	line := s.line(at)
	gt := bytes.IndexByte(s.text[at:end], '>')
	if gt < 0 {
		return n, 0, &Error{Line: line, Element: parent, Message: "a < without a >"}
	}
	tag := string(s.text[at+1 : at+gt])
	next = at + gt + 1
	if strings.HasPrefix(tag, "?") || strings.HasPrefix(tag, "!") {
		return n, next, nil
	}
	if strings.HasPrefix(tag, "/") {
		return n, 0, &Error{Line: line, Element: parent, Message: fmt.Sprintf("end tag <%s> without a start tag", shorten(tag))}
	}
	name := tag
	if i := strings.IndexAny(tag, " \t\r\n\v\f/"); i >= 0 {
		name = tag[:i]
	}
	rest := strings.TrimSpace(tag[len(name):])
	if !isName(name) {
		return n, 0, &Error{Line: line, Element: parent, Message: fmt.Sprintf("<%s> is not a tag", shorten(tag))}
	}
	if attributes := strings.TrimSpace(strings.TrimSuffix(rest, "/")); attributes != "" {
		s.warn(line, "<%s>: attributes are ignored: %s", name, shorten(attributes))
	}
	n = node{name: name, line: line, start: next, end: next}
	if strings.HasSuffix(rest, "/") {
		n.empty = true
		return n, next, nil
	}
	close := []byte("</" + name + ">")
	i := bytes.Index(s.text[next:end], close)
	if i < 0 {
		return n, 0, &Error{Line: line, Element: name, Message: "the end tag </" + name + "> is missing"}
	}
	n.end = next + i
	return n, n.end + len(close), nil
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c == '-' || c == '.' || c == ':' || c >= '0' && c <= '9')) {
			return false
		}
	}
	return s != ""
}

// shorten keeps a message to one line of bounded length.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	s = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
	if len(s) > 60 {
		s = s[:60] + "..."
	}
	return s
}
