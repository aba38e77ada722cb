// loadgen plays many BOINC clients against one server and prints what it measured as JSON.
//
//	loadgen -mode dispatch|realistic|volunteer -url URL/PROJECT_cgi -hosts hosts.tsv [-c 8] [-t 10] [-warmup 2]
//	loadgen -mode upload -url URL/PROJECT_cgi -files files.tsv [-c 8] [-t 10] [-size 1000]
//
// While it measures it says "MEASURE" and then "DONE" on standard error, so that the caller can read other
// processes' CPU times at these moments. Exit status 1: something was wrong with a reply (see "faults"), or a
// result was handed out twice.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

type options struct {
	mode, url, hosts, files string
	connect                 string
	conns, fetch, size      int
	jobs                    int
	seconds, warmup         float64
	think                   time.Duration
}

// load is the state that all connections share.
type load struct {
	options
	target             *url.URL
	scheduler, handler string
	queue              chan *host
	rpcs, uploads      meter
	names              names
	faults             faults
	fetched, reported  counter
	empty              counter
	fileQueue          chan outputFile
}

type counter struct {
	mu   sync.Mutex
	n    int
	part int
}

// add counts; part counts what fell into the measured time.
func (c *counter) add(n int) {
	c.mu.Lock()
	c.n += n
	if measuring.Load() {
		c.part += n
	}
	c.mu.Unlock()
}

func (c *counter) get() (total, measured int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n, c.part
}

func main() {
	var o options
	flag.StringVar(&o.mode, "mode", "dispatch", "dispatch, realistic, volunteer or upload")
	flag.StringVar(&o.url, "url", "", "URL_BASE/PROJECT_cgi")
	flag.StringVar(&o.hosts, "hosts", "", "file with lines hostid TAB authenticator")
	flag.StringVar(&o.files, "files", "", "mode upload: file with lines name TAB max_nbytes TAB signature, | for newlines")
	flag.StringVar(&o.connect, "connect", "", "host:port to connect to (default: that of -url)")
	flag.IntVar(&o.conns, "c", 8, "connections")
	flag.IntVar(&o.fetch, "fetch", 1, "mode volunteer: jobs to ask for per request")
	flag.IntVar(&o.size, "size", 1000, "bytes of an output file")
	flag.IntVar(&o.jobs, "jobs", 0, "mode volunteer: stop after this many jobs were handed out (0: by time)")
	flag.Float64Var(&o.seconds, "t", 10, "seconds to measure")
	flag.Float64Var(&o.warmup, "warmup", 2, "seconds before measuring")
	flag.DurationVar(&o.think, "think", 200*time.Millisecond, "mode volunteer: pause of a host that got no work")
	flag.Parse()
	target, err := url.Parse(o.url)
	if err != nil || target.Host == "" {
		fail("-url %q is not a URL", o.url)
	}
	l := &load{options: o, target: target}
	l.scheduler, l.handler = target.Path+"/cgi", target.Path+"/file_upload_handler"
	l.names.seen = map[string]int{}
	l.faults = faults{counts: map[string]int{}, examples: map[string]string{}}
	if o.mode == "upload" {
		l.readFiles()
	} else {
		l.readHosts()
	}
	os.Exit(l.run())
}

func fail(text string, values ...any) {
	fmt.Fprintf(os.Stderr, "loadgen: "+text+"\n", values...)
	os.Exit(2)
}

func (l *load) readHosts() {
	hosts, err := readHosts(l.hosts)
	if err != nil || len(hosts) < l.conns {
		fail("hosts: %v (%d hosts for %d connections)", err, len(hosts), l.conns)
	}
	l.queue = make(chan *host, len(hosts))
	for _, h := range hosts {
		l.queue <- h
	}
}

func (l *load) readFiles() {
	data, err := os.ReadFile(l.files)
	if err != nil {
		fail("%v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	l.fileQueue = make(chan outputFile, len(lines))
	for _, line := range lines {
		parts := strings.Split(line, "\t")
		if len(parts) != 3 {
			fail("%s: bad line %q", l.files, line)
		}
		l.fileQueue <- outputFile{name: parts[0], maxNbytes: parts[1], signature: strings.ReplaceAll(parts[2], "|", "\n")}
	}
	close(l.fileQueue)
}

func (l *load) run() int {
	step := map[string]func(*conn, *bytes.Buffer) bool{
		"dispatch": l.dispatch, "realistic": l.realistic, "volunteer": l.volunteer, "upload": l.uploadOne}[l.mode]
	if step == nil {
		fail("no mode %q", l.mode)
	}
	var workers sync.WaitGroup
	done := make(chan struct{})
	for i := 0; i < l.conns; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			c, buffer := newConn(l.target, l.connect), &bytes.Buffer{}
			defer c.close()
			for !stopping.Load() && step(c, buffer) {
			}
		}()
	}
	go func() { workers.Wait(); close(done) }()
	wait := func(seconds float64) {
		select {
		case <-done:
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		}
	}
	wait(l.warmup)
	if l.mode == "realistic" {
		l.settle(done)
	}
	cpu, started := cpuSeconds(), time.Now()
	measuring.Store(true)
	fmt.Fprintln(os.Stderr, "MEASURE")
	wait(l.seconds)
	measuring.Store(false)
	elapsed, used := time.Since(started).Seconds(), cpuSeconds()-cpu
	fmt.Fprintln(os.Stderr, "DONE")
	stopping.Store(true)
	<-done
	if l.mode == "volunteer" {
		l.reportRest()
	}
	return l.print(elapsed, used)
}

// settle waits until every host has had two requests and so holds four jobs, two minutes at most.
func (l *load) settle(done chan struct{}) {
	deadline := time.Now().Add(2 * time.Minute)
	for total, _ := l.fetched.get(); total < 4*cap(l.queue) && time.Now().Before(deadline); total, _ = l.fetched.get() {
		select {
		case <-done:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *load) print(elapsed, cpu float64) int {
	fetched, fetchedNow := l.fetched.get()
	reported, reportedNow := l.reported.get()
	empty, _ := l.empty.get()
	out := map[string]any{
		"mode": l.mode, "connections": l.conns, "seconds": elapsed, "loadgen_cpu_seconds": cpu,
		"rpc": l.rpcs.summary(elapsed), "upload": l.uploads.summary(elapsed),
		"fetched": fetched, "fetched_measured": fetchedNow, "reported": reported, "reported_measured": reportedNow,
		"without_work": empty, "handed_out_twice": len(l.names.twice), "faults": l.faults.counts,
		"fault_examples": l.faults.examples,
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		fail("%v", err)
	}
	if len(l.names.twice) > 0 || len(l.faults.counts) > 0 {
		return 1
	}
	return 0
}
