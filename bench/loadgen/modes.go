package main

import (
	"bytes"
	"strings"
	"time"
)

// rpc sends the request in buffer and gives the jobs of the reply, all of them noted; nil if the RPC failed. It
// checks that the reply is whole, came from a working server and acknowledges what was reported.
func (l *load) rpc(c *conn, h *host, buffer *bytes.Buffer, report []job) ([]job, bool) {
	started := time.Now()
	reply, err := c.post(l.scheduler, "text/xml", buffer.Bytes())
	if err != nil {
		l.faults.add("rpc failed", err.Error())
		time.Sleep(50 * time.Millisecond)
		return nil, false
	}
	l.rpcs.add(time.Since(started))
	text := string(reply)
	if !strings.Contains(text, "</scheduler_reply>") || strings.Contains(text, "<project_is_down/>") ||
		strings.Contains(text, "<hostid>") {
		l.faults.add("unexpected reply", text)
		return nil, false
	}
	for i := range report {
		if !strings.Contains(text, "<name>"+report[i].name+"</name>\n</result_ack>") {
			l.faults.add("report not acknowledged", text)
			return nil, false
		}
	}
	l.reported.add(len(report))
	jobs := jobsOf(reply)
	for i := range jobs {
		l.names.sent(jobs[i].name, h.id)
	}
	l.fetched.add(len(jobs))
	if len(jobs) == 0 {
		l.empty.add(1)
	}
	return jobs, true
}

// dispatch: one request, one job; the host forgets it at once (and sends no <other_results>, so the server does
// not look for lost jobs).
func (l *load) dispatch(c *conn, buffer *bytes.Buffer) bool {
	h := <-l.queue
	defer func() { l.queue <- h }()
	h.request(buffer, 1, nil, nil, false)
	if jobs, ok := l.rpc(c, h, buffer, nil); ok && len(jobs) != 1 {
		l.faults.add("not one job", string(c.body))
	}
	return true
}

// realistic: the host reports its two oldest jobs, lists two others and asks for two.
func (l *load) realistic(c *conn, buffer *bytes.Buffer) bool {
	h := <-l.queue
	defer func() { l.queue <- h }()
	var report []job
	if len(h.held) >= 4 {
		report = h.held[:2]
		for i := range report {
			for k := range report[i].files {
				report[i].files[k].md5, report[i].files[k].nbytes = "9bdab36abd4002a5ba799112841e27ee", l.size
			}
		}
	}
	h.request(buffer, 2, report, h.held[len(report):], true)
	jobs, ok := l.rpc(c, h, buffer, report)
	if !ok {
		return true
	}
	h.held = append(append([]job{}, h.held[len(report):]...), jobs...)
	if len(jobs) != 2 {
		l.faults.add("not two jobs", string(c.body))
	}
	return true
}

// volunteer: fetch, upload every output file, report with the next request.
func (l *load) volunteer(c *conn, buffer *bytes.Buffer) bool {
	if l.jobs > 0 && l.names.total() >= l.jobs {
		return false
	}
	h := <-l.queue
	h.request(buffer, l.fetch, h.held, nil, true)
	jobs, ok := l.rpc(c, h, buffer, h.held)
	if ok {
		h.held = l.uploadAll(c, buffer, jobs)
	}
	if !ok || len(jobs) > 0 {
		l.queue <- h
		return true
	}
	time.AfterFunc(l.think, func() { l.queue <- h })
	return true
}

// uploadAll uploads the files of jobs; those whose upload failed are left out and stay in progress.
func (l *load) uploadAll(c *conn, buffer *bytes.Buffer, jobs []job) []job {
	var done []job
	for _, j := range jobs {
		ok := true
		for k := range j.files {
			ok = l.send(c, buffer, &j.files[k], j.wuName) && ok
		}
		if ok {
			done = append(done, j)
		}
	}
	return done
}

func (l *load) send(c *conn, buffer *bytes.Buffer, f *outputFile, seed string) bool {
	f.upload(buffer, seed, l.size)
	started := time.Now()
	reply, err := c.post(l.handler, "text/xml", buffer.Bytes())
	if err != nil {
		l.faults.add("upload failed", err.Error())
		return false
	}
	l.uploads.add(time.Since(started))
	if text(string(reply), "status") != "0" {
		l.faults.add("upload refused", string(reply))
		return false
	}
	return true
}

// reportRest reports what the hosts still hold at the end, without asking for work.
func (l *load) reportRest() {
	c, buffer := newConn(l.target, l.connect), &bytes.Buffer{}
	defer c.close()
	time.Sleep(l.think)
	for n := len(l.queue); n > 0; n-- {
		h := <-l.queue
		if len(h.held) == 0 {
			continue
		}
		h.request(buffer, 0, h.held, nil, true)
		l.rpc(c, h, buffer, h.held)
		h.held = nil
	}
}

// uploadOne: the next file of the list.
func (l *load) uploadOne(c *conn, buffer *bytes.Buffer) bool {
	f, ok := <-l.fileQueue
	if !ok {
		return false
	}
	l.send(c, buffer, &f, f.name)
	return true
}
