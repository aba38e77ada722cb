package dockerjob

import (
	"bufio"
	"bytes"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
)

// meter adds up what the job used. CPU seconds are of all episodes.
type meter struct {
	ncpus      float64
	period     int // seconds between checkpoints
	total      float64
	checkpoint float64 // as last reported; a change is the checkpoint signal
	counter    float64 // the engine's counter at the last sample
	wss        float64
	fraction   float64
	lastSample time.Time // zero: no interval is known
	lastCkpt   time.Time
}

func newMeter(d *boinc.InitData, st state) *meter {
	m := &meter{ncpus: math.Max(1, d.NCPUs), period: d.MinCheckpointPeriod(0), total: d.WUCPUTime,
		checkpoint: d.WUCPUTime, fraction: st.Fraction, lastCkpt: time.Now()}
	return m
}

// adopt goes on with a container of an earlier episode: its counter runs on and
// what it used since the client's last checkpoint is not lost.
func (m *meter) adopt(st state) {
	m.counter = st.Counter
	m.total = math.Max(m.total, st.CPU)
}

// restart says that a container begins anew: its counter starts at zero.
func (m *meter) restart(now time.Time) { m.counter, m.lastSample = 0, now }

// frozen says that the job computed nothing up to now.
func (m *meter) frozen(now time.Time) { m.lastSample = now }

// add takes a measurement in. More than ncpus × time × 1.1 is not believed.
func (m *meter) add(s engine.Sample, now time.Time) {
	interval := now.Sub(m.lastSample).Seconds()
	known := !m.lastSample.IsZero()
	m.lastSample = now
	if s.Memory > 0 {
		m.wss = s.Memory
	}
	var used float64
	switch {
	case s.HaveCPU:
		used = s.CPU - m.counter
		if used < 0 { // the container was restarted
			used = s.CPU
		}
		m.counter = s.CPU
	case s.HavePercent && known:
		used = s.Percent / 100 * interval
	}
	if known {
		used = math.Min(used, m.ncpus*interval*1.1)
	}
	if used > 0 {
		m.total += used
	}
}

// tick makes a checkpoint when the period has passed.
func (m *meter) tick(now time.Time) (checkpointed bool) {
	if now.Sub(m.lastCkpt) < time.Duration(m.period)*time.Second || m.total == m.checkpoint {
		return false
	}
	m.mark(now)
	return true
}

// mark is a checkpoint now: at pause and quit nothing is lost.
func (m *meter) mark(now time.Time) { m.checkpoint, m.lastCkpt = m.total, now }

// progress takes a fraction file in: the last line that is a number, within 0..1, never less than before.
func (m *meter) progress(text []byte) {
	if f, ok := parseFraction(text); ok && f > m.fraction {
		m.fraction = f
	}
}

func parseFraction(text []byte) (float64, bool) {
	best, found := 0.0, false
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		if f, err := strconv.ParseFloat(strings.TrimSpace(sc.Text()), 64); err == nil && !math.IsNaN(f) {
			best, found = math.Min(1, math.Max(0, f)), true
		}
	}
	return best, found
}

func (m *meter) status() boinc.Status {
	return boinc.Status{CPU: m.total, CheckpointCPU: m.checkpoint, FractionDone: m.fraction, WSS: m.wss}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
