package dockerjob

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
)

func initData(project, wu, result string) *boinc.InitData {
	d := boinc.NewInitData()
	d.ProjectDir, d.WUName, d.ResultName = "/var/lib/boinc/projects/"+project, wu, result
	return d
}

// Spec 07 §14.3.
func TestNames(t *testing.T) {
	d := initData("sim.example.org_alpha", "Fold_12", "Fold_12_0")
	if got := ImageAlias(d, false); got != "boinc__sim.example.org_alpha__fold_12" {
		t.Error(got)
	}
	if got := ContainerName(d); got != "boinc__sim.example.org_alpha__fold_12_0" {
		t.Error(got)
	}
	d = initData("127.0.0.1_8080_p", "d-1", "d-1_3")
	if ImageAlias(d, false) != "boinc__127.0.0.1_8080_p__d-1" || ContainerName(d) != "boinc__127.0.0.1_8080_p__d-1_3" {
		t.Error(ImageAlias(d, false), ContainerName(d))
	}
	d = initData("sim.example.org_alpha", "", "")
	d.AppName, d.AppVersion = "Fold", 103
	if got := ImageAlias(d, true); got != "boinc_sim.example.org_alpha_fold_cpu_103" {
		t.Error(got)
	}
	d.AppName, d.PlanClass = "My App", "docker_mt"
	if got := ImageAlias(d, true); got != "boinc_sim.example.org_alpha_my-app_docker_mt_103" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, wu := range []string{"a b", "a/b", "a..b", "a___b", "_a", "é", "--x", strings.Repeat("x", 300), "$(x)", ""} {
		for _, name := range []string{ImageAlias(initData("p", wu, wu), false), contentRef(initData(wu, "", ""), strings.Repeat("0", 64))} {
			repo, _, _ := strings.Cut(name, ":")
			if !repositoryRE.MatchString(repo) || len(repo) > 255 {
				t.Errorf("%q gives %q", wu, name)
			}
		}
		name := ImageAlias(initData("p", wu, wu), false)
		if seen[name] {
			t.Errorf("%q: %q twice", wu, name)
		}
		seen[name] = true
		if c := ContainerName(initData("p", "w", wu)); strings.ContainsAny(c, " /$()") || c[0] == '-' {
			t.Errorf("%q gives container %q", wu, c)
		}
	}
}

func TestContextSources(t *testing.T) {
	for text, want := range map[string]struct {
		src []string
		all bool
	}{
		"FROM x\nRUN echo COPY a b":                             {nil, false},
		"FROM x\nCOPY a b /c/\nADD --chown=1:1 d http://x/y /e": {[]string{"a", "b", "d"}, false},
		"FROM x\ncopy \\\n # comment\n ./a \\\n  /b":            {[]string{"a"}, false},
		"FROM x AS y\nCOPY --from=y /a /b":                      {nil, false},
		"FROM x\nCOPY . /app":                                   {nil, true},
		"FROM x\nCOPY ./ /app":                                  {nil, true},
		"FROM x\nCOPY * /app":                                   {nil, true},
		"FROM x\nCOPY $F /app":                                  {nil, true},
		`FROM x` + "\n" + `COPY ["a b", "c.*", "/d/"]`:          {[]string{"a b", "c.*"}, false},
		"FROM x\nCOPY <<EOF /a\nCOPY b /c\nEOF\nCOPY d /e":      {[]string{"d"}, false},
		"FROM x\nRUN --mount=type=bind,target=/x ls":            {nil, true},
		"FROM x\nRUN --mount=type=cache,target=/x ls":           {nil, false},
		"FROM x\nONBUILD COPY a /b":                             {[]string{"a"}, false},
		"# escape=`\nFROM x\nCOPY a `\n b c:\\":                 {[]string{"a", "b"}, false},
		"":                                                      {nil, false},
	} {
		src, all := contextSources(text)
		if all != want.all || !all && !reflect.DeepEqual(src, want.src) {
			t.Errorf("%q: %q %v", text, src, all)
		}
	}
	if got := baseImage("# c\nARG A\nFROM --platform=linux/amd64 debian:12 AS x"); got != "debian:12" {
		t.Error(got)
	}
	for name, want := range map[string]bool{"a": true, "dir/x/y": true, "c.txt": true, "b": false, "dirx": false, "x/a": false} {
		if got := wanted(name, []string{"a", "dir", "c.*"}); got != want {
			t.Error(name)
		}
	}
}

func FuzzDockerfile(f *testing.F) {
	f.Add("FROM x\nCOPY a b\nRUN <<EOF\nx\nEOF")
	f.Fuzz(func(t *testing.T, text string) {
		src, _ := contextSources(text)
		for _, s := range src {
			if s == "" || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "..") {
				t.Fatalf("source %q", s)
			}
		}
		baseImage(text)
	})
}

func TestFraction(t *testing.T) {
	for text, want := range map[string]float64{"0.25\n0.5\n": 0.5, "1.7": 1, "abc": 0, "": 0, "-3": 0, "0.3\nnan\n": 0.3, "0.5\nx\n": 0.5} {
		if got, _ := parseFraction([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestMeter(t *testing.T) {
	now := time.Now()
	d := boinc.NewInitData()
	d.WUCPUTime, d.CheckpointPeriod = 100, 60
	m := newMeter(d, state{})
	if s := m.status(); s.CPU != 100 || s.CheckpointCPU != 100 {
		t.Errorf("before any measurement: %+v", s)
	}
	m.restart(now)
	cpu := func(after time.Duration, counter float64) float64 {
		m.add(engine.Sample{CPU: counter, HaveCPU: true}, now.Add(after))
		return m.total
	}
	if got := cpu(10*time.Second, 9); got != 109 {
		t.Error(got)
	}
	if got := cpu(20*time.Second, 500); got != 120 { // more than a CPU can do
		t.Error(got)
	}
	if got := cpu(30*time.Second, 3); got != 123 { // restarted behind our back
		t.Error(got)
	}
	m.frozen(now.Add(1000 * time.Second))
	m.add(engine.Sample{Percent: 50, HavePercent: true, Memory: 7}, now.Add(1010*time.Second))
	if m.total != 128 || m.wss != 7 {
		t.Error(m.total, m.wss)
	}
	m.lastCkpt = now
	if m.tick(now.Add(59*time.Second)) || m.checkpoint != 100 {
		t.Error("too early")
	}
	if !m.tick(now.Add(60*time.Second)) || m.checkpoint != 128 {
		t.Error("no checkpoint")
	}
	if m.tick(now.Add(200 * time.Second)) {
		t.Error("nothing new to record")
	}
	a := newMeter(d, state{})
	a.adopt(state{CPU: 150, Counter: 20})
	a.add(engine.Sample{CPU: 25, HaveCPU: true}, now)
	if a.total != 155 {
		t.Error(a.total)
	}
}

func TestProxy(t *testing.T) {
	p := boinc.ProxyInfo{UseHTTP: true, HTTPServer: "px", HTTPPort: 3128, HTTPUser: "u", HTTPPassword: "p"}
	want := []string{"http_proxy=http://u:p@px:3128", "https_proxy=http://u:p@px:3128", "HTTPS_PROXY=http://u:p@px:3128"}
	if got := ProxyEnv(p); !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
	p = boinc.ProxyInfo{UseSOCKS: true, SOCKSServer: "sx", SOCKSPort: 1080, SOCKSRemoteDNS: true, NoProxy: "a,b"}
	if got := ProxyEnv(p); got[0] != "http_proxy=socks5h://sx:1080" || got[4] != "NO_PROXY=a,b" {
		t.Error(got)
	}
	p = boinc.ProxyInfo{UseHTTP: true, HTTPServer: "x'; touch y; '", HTTPPort: 1, HTTPUser: "a:b@c"}
	if got := ProxyEnv(p)[0]; !strings.Contains(got, "a%3Ab%40c") {
		t.Error(got)
	}
	if ProxyEnv(boinc.ProxyInfo{HTTPServer: "px"}) != nil {
		t.Error("not switched on")
	}
}

func TestLabelsAreOneInstruction(t *testing.T) {
	labels := map[string]string{"boinc.a": "x", "boinc.b": "sim.example.org_alpha"}
	line := "LABEL boinc.a=x boinc.b=sim.example.org_alpha\n"
	for text, want := range map[string]string{
		"FROM a\nCMD b":                      "FROM a\nCMD b\n" + line,
		"FROM a\r\nCMD b\r\n\r\n":            "FROM a\r\nCMD b\n" + line,
		"from a\nRUN <<X\n  b\nX\n":          "from a\nRUN <<X\n  b\nX\n" + line,
		"FROM a\nRUN b \\\n":                 "", // would go on in our line
		"# escape=`\nFROM a\nRUN b `\n":      "",
		"FROM a\nRUN b \\\n # a comment\n\n": "", // does not end the continued line
		"":                                   "",
		"RUN b\n":                            "",
	} {
		got, rest := withLabels(text, labels, nil)
		if want == "" && (got != text || len(rest) != 2) || want != "" && (got != want || rest != nil) {
			t.Errorf("%q: %q %v", text, got, rest)
		}
	}
	for _, c := range []struct {
		labels map[string]string
		args   []string
	}{{labels, []string{"--target", "first"}}, {labels, []string{"--target=first"}},
		{map[string]string{"boinc.a": `x"y`}, nil}, {map[string]string{"boinc.a": ""}, nil}, {map[string]string{"boinc.a": "$HOME"}, nil}} {
		if got, rest := withLabels("FROM a\n", c.labels, c.args); got != "FROM a\n" || len(rest) != len(c.labels) {
			t.Errorf("%v: %q %v", c, got, rest)
		}
	}
}
