package boinc

import "strings"

// SplitArgs splits a command line as the clients do (spec 07 §1.5): white
// space separates; a token that starts with ' or " runs to the next same quote
// or to the end; no escapes; quotes inside a token are literal. Unlike the clients'
// splitter, two adjacent quotes are an empty token.
func SplitArgs(s string) []string {
	var out []string
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case isSpace(c):
			i++
		case c == '\'' || c == '"':
			end := strings.IndexByte(s[i+1:], c)
			if end < 0 {
				return append(out, s[i+1:])
			}
			out = append(out, s[i+1:i+1+end])
			i += end + 2
		default:
			start := i
			for i < len(s) && !isSpace(s[i]) {
				i++
			}
			out = append(out, s[start:i])
		}
	}
	return out
}
