// Package boinc is the volunteer-side runtime protocol of BOINC: what a program
// started by a client must do to be controlled, measured and finished
// (spec chapter 07, sections 1 to 3).
package boinc

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Element is one element at the top level of a buffer. Body is the raw text
// between the tags; Empty says that the element was written as <name/>.
type Element struct {
	Name  string
	Body  []byte
	Empty bool
}

// Elements lists the top-level elements of src in order. It is tolerant: text
// between elements, comments, declarations, end tags without a start and start
// tags without an end are skipped, attributes are ignored. It never fails.
// BOINC's files are not XML (undeclared 8-bit text), so no XML parser is used.
func Elements(src []byte) []Element {
	var out []Element
	noEnd := map[string]bool{} // names already known to have no end tag ahead: keeps the scan linear
	for {
		lt := bytes.IndexByte(src, '<')
		if lt < 0 {
			return out
		}
		src = src[lt+1:]
		if bytes.HasPrefix(src, []byte("!--")) {
			if end := bytes.Index(src, []byte("-->")); end >= 0 {
				src = src[end+3:]
			}
			continue
		}
		gt := bytes.IndexByte(src, '>')
		if gt < 0 {
			return out
		}
		tag := src[:gt]
		name := tagName(tag)
		if name == "" {
			continue
		}
		rest := src[gt+1:]
		if bytes.HasSuffix(tag, []byte("/")) {
			out = append(out, Element{Name: name, Empty: true})
			src = rest
			continue
		}
		end := -1
		if !noEnd[name] {
			end = bytes.Index(rest, []byte("</"+name+">"))
		}
		if end < 0 {
			noEnd[name] = true
			src = rest
			continue
		}
		out = append(out, Element{Name: name, Body: rest[:end]})
		src = rest[end+len(name)+3:]
	}
}

// tagName returns the name of a start tag (text between < and >), or "" if it
// is not one.
func tagName(tag []byte) string {
	n := 0
	for n < len(tag) && isNameByte(tag[n]) {
		n++
	}
	if n == 0 || (n < len(tag) && !isSpace(tag[n]) && tag[n] != '/') {
		return ""
	}
	return string(tag[:n])
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c == ':' ||
		c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isSpace(c byte) bool { return c == ' ' || c >= 9 && c <= 13 }

// Unescape resolves &lt; &gt; &amp; &quot; &apos; and numeric references. A
// number below 256 is one raw byte, not a code point: clients write each byte
// of a UTF-8 string by itself (spec 07 §1.6). Anything else is left as it is.
func Unescape(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] == '&' {
			if text, n := entity(s[i:]); n > 0 {
				b.WriteString(text)
				i += n
				continue
			}
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

// entity decodes the reference at the start of s; n is its length, 0 if there is none.
func entity(s string) (text string, n int) {
	semi := strings.IndexByte(s, ';')
	if semi < 2 || semi > 10 {
		return "", 0
	}
	switch body := s[1:semi]; body {
	case "lt":
		return "<", semi + 1
	case "gt":
		return ">", semi + 1
	case "amp":
		return "&", semi + 1
	case "quot":
		return `"`, semi + 1
	case "apos":
		return "'", semi + 1
	default:
		if body[0] != '#' {
			return "", 0
		}
		digits, base := body[1:], 10
		if strings.HasPrefix(digits, "x") || strings.HasPrefix(digits, "X") {
			digits, base = digits[1:], 16
		}
		v, err := strconv.ParseUint(digits, base, 21)
		switch {
		case err != nil:
			return "", 0
		case v < 256:
			return string([]byte{byte(v)}), semi + 1
		case v <= utf8.MaxRune:
			return string(rune(v)), semi + 1
		}
		return "", 0
	}
}

// text, integer, number and boolean read an element's value; a value that cannot
// be read leaves the destination unchanged, as the clients' own readers do.

func (e Element) text() string { return Unescape(strings.TrimSpace(string(e.Body))) }

func (e Element) integer(dst *int) {
	s := strings.TrimSpace(string(e.Body))
	if v, err := strconv.Atoi(s); err == nil {
		*dst = v
		return
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(v) < 1<<53 {
		*dst = int(v)
	}
}

func (e Element) number(dst *float64) {
	if v, ok := finite(strings.TrimSpace(string(e.Body))); ok {
		*dst = v
	}
}

func (e Element) boolean(dst *bool) {
	if e.Empty {
		*dst = true
		return
	}
	v := 0
	if s := strings.TrimSpace(string(e.Body)); s != "" {
		e.integer(&v)
		*dst = v != 0
	}
}

// finite parses a decimal number; overflow, underflow and non-finite values are refused.
func finite(s string) (float64, bool) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return 0, false
	}
	if v == 0 && strings.ContainsAny(mantissa(s), "123456789") {
		return 0, false // underflow: the text is not zero
	}
	return v, true
}

func mantissa(s string) string {
	if i := strings.IndexAny(s, "eEpP"); i >= 0 && !strings.HasPrefix(strings.TrimLeft(s, "+-"), "0x") {
		return s[:i]
	}
	return s
}
