package dockerjob

import (
	"encoding/json"
	"regexp"
	"sort"
	"strings"
)

var (
	escapeRE  = regexp.MustCompile("(?i)^#\\s*escape\\s*=\\s*([\\\\`])\\s*$")
	heredocRE = regexp.MustCompile(`<<-?["']?([A-Za-z_][A-Za-z0-9_]*)["']?`)
)

// contextSources lists the paths and patterns that a Dockerfile takes from its
// build context. all is true when that cannot be told (variables, `.`, bind
// mounts of RUN): then everything is needed. Large inputs of a job that the
// Dockerfile does not name stay out of the build and out of the image's identity.
func contextSources(dockerfile string) (sources []string, all bool) {
	for _, ins := range instructions(dockerfile) {
		word, rest, _ := strings.Cut(ins, " ")
		if strings.EqualFold(word, "ONBUILD") {
			word, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
		}
		switch strings.ToUpper(word) {
		case "RUN":
			for _, f := range strings.Fields(rest) {
				if !strings.HasPrefix(f, "--") {
					break
				}
				if strings.HasPrefix(f, "--mount=") && !strings.Contains(f, "from=") && !strings.Contains(f, "type=cache") &&
					!strings.Contains(f, "type=tmpfs") {
					return nil, true
				}
			}
		case "COPY", "ADD":
			src, everything := copySources(strings.TrimSpace(rest))
			if everything {
				return nil, true
			}
			sources = append(sources, src...)
		}
	}
	return sources, false
}

// instructions joins continued lines and leaves out comments and here-documents.
func instructions(text string) []string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	escape := `\`
	if m := escapeRE.FindStringSubmatch(strings.TrimSpace(lines[0])); m != nil {
		escape = m[1]
	}
	var out []string
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' {
			continue
		}
		for strings.HasSuffix(line, escape) && i+1 < len(lines) {
			i++
			next := strings.TrimSpace(lines[i])
			if next != "" && next[0] == '#' {
				continue // comments between continued lines
			}
			line = strings.TrimSuffix(line, escape) + " " + next
		}
		out = append(out, strings.Join(strings.Fields(line), " "))
		for _, m := range heredocRE.FindAllStringSubmatch(line, -1) {
			for end := i + 1; end < len(lines); end++ {
				if strings.TrimSpace(lines[end]) == m[1] {
					i = end
					break
				}
			}
		}
	}
	return out
}

var labelRE = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// withLabels adds labels as the Dockerfile's last instruction: of each --label, Docker's classic builder makes a step of
// its own, with a container and a layer. rest has the labels that must be options all the same, because the last line
// would not be one of its own or not of the image that is built.
func withLabels(dockerfile string, labels map[string]string, buildArgs []string) (text string, rest map[string]string) {
	for _, a := range buildArgs {
		if strings.HasPrefix(a, "--target") {
			return dockerfile, labels
		}
	}
	begun := false
	for _, ins := range instructions(dockerfile) {
		word, _, _ := strings.Cut(ins, " ")
		begun = begun || strings.EqualFold(word, "FROM")
	}
	body := strings.TrimRight(dockerfile, "\r\n\t ")
	last := body[strings.LastIndex(body, "\n")+1:]
	if !begun || strings.HasSuffix(body, `\`) || strings.HasSuffix(body, "`") || strings.HasPrefix(strings.TrimSpace(last), "#") {
		return dockerfile, labels
	}
	line := "LABEL"
	for _, name := range sortedNames(labels) {
		if !labelRE.MatchString(labels[name]) {
			return dockerfile, labels
		}
		line += " " + name + "=" + labels[name]
	}
	return body + "\n" + line + "\n", nil
}

func sortedNames(labels map[string]string) []string {
	names := make([]string, 0, len(labels))
	for name := range labels {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// copySources reads the arguments of COPY and ADD.
func copySources(rest string) (sources []string, all bool) {
	for strings.HasPrefix(rest, "--") {
		flag, after, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(flag, "--from=") {
			return nil, false
		}
		rest = strings.TrimSpace(after)
	}
	var words []string
	if !strings.HasPrefix(rest, "[") || json.Unmarshal([]byte(rest), &words) != nil {
		words = strings.Fields(rest)
	}
	if len(words) < 2 {
		return nil, false // the engine will say what is wrong
	}
	for _, w := range words[:len(words)-1] {
		switch {
		case strings.HasPrefix(w, "<<"), strings.Contains(w, "://"), strings.HasPrefix(w, "git@"):
			continue
		case strings.Contains(w, "$"):
			return nil, true
		}
		w = strings.Trim(strings.Trim(w, `"'`), "/")
		for strings.HasPrefix(w, "./") {
			w = strings.TrimLeft(w[2:], "/")
		}
		if w == "" || w == "." || strings.HasPrefix(w, "..") || w[0] == '*' && len(w) == 1 {
			return nil, true
		}
		sources = append(sources, w)
	}
	return sources, false
}

var fromRE = regexp.MustCompile(`(?i)^FROM\s+(?:--\S+\s+)*(\S+)`)

// baseImage is the image of the first FROM, "" if there is none.
func baseImage(dockerfile string) string {
	for _, ins := range instructions(dockerfile) {
		if m := fromRE.FindStringSubmatch(ins); m != nil {
			return m[1]
		}
	}
	return ""
}
