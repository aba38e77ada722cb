package main

import (
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// meter collects the latencies of one kind of request while measuring is on.
type meter struct {
	mu        sync.Mutex
	latencies []float64
}

func (m *meter) add(d time.Duration) {
	if !measuring.Load() {
		return
	}
	m.mu.Lock()
	m.latencies = append(m.latencies, d.Seconds()*1000)
	m.mu.Unlock()
}

// summary: count, rate per second and latencies in ms.
func (m *meter) summary(seconds float64) map[string]any {
	m.mu.Lock()
	defer m.mu.Unlock()
	sort.Float64s(m.latencies)
	n := len(m.latencies)
	at := func(p float64) float64 {
		if n == 0 {
			return 0
		}
		i := int(p * float64(n))
		if i >= n {
			i = n - 1
		}
		return m.latencies[i]
	}
	return map[string]any{"count": n, "per_second": float64(n) / seconds, "p50_ms": at(0.5), "p90_ms": at(0.9),
		"p99_ms": at(0.99), "max_ms": at(1)}
}

var (
	measuring atomic.Bool
	stopping  atomic.Bool
)

// cpuSeconds is the CPU time this process has used.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	one := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return one(usage.Utime) + one(usage.Stime)
}

// names remembers every result name handed out, to find one handed out twice.
type names struct {
	mu    sync.Mutex
	seen  map[string]int
	twice []string
}

func (n *names) sent(name string, hostid int) {
	n.mu.Lock()
	if _, known := n.seen[name]; known {
		n.twice = append(n.twice, name)
	}
	n.seen[name] = hostid
	n.mu.Unlock()
}

func (n *names) total() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}

// faults counts what went wrong, by kind, with one example each.
type faults struct {
	mu       sync.Mutex
	counts   map[string]int
	examples map[string]string
}

func (f *faults) add(kind, example string) {
	f.mu.Lock()
	f.counts[kind]++
	if _, known := f.examples[kind]; !known {
		if len(example) > 600 {
			example = example[:600]
		}
		f.examples[kind] = example
	}
	f.mu.Unlock()
}
