package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// job is a result that a host holds.
type job struct {
	name   string
	wuName string
	files  []outputFile
}

// outputFile is one <file_info> of a result: what an upload needs.
type outputFile struct {
	name      string
	maxNbytes string
	signature string
	url       string
	md5       string
	nbytes    int
}

// host is one simulated computer; used by one goroutine at a time.
type host struct {
	id    int
	key   string
	seqno int
	rpcs  int
	held  []job
}

// readHosts reads lines "hostid TAB authenticator". Sequence numbers grow from run to run.
func readHosts(path string) ([]*host, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	base := int(time.Now().Unix()-1700000000) * 4
	var hosts []*host
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		id, key, ok := strings.Cut(scan.Text(), "\t")
		number, err := strconv.Atoi(id)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: bad line %q", path, scan.Text())
		}
		hosts = append(hosts, &host{id: number, key: key, seqno: base})
	}
	return hosts, scan.Err()
}

// request writes a scheduler request of this host into out: everything that client 8.2.15 sends (spec 01 section
// 6.1). wanted is how many jobs to ask for; report and others are the finished and the other jobs held. The free
// disk space differs from request to request, as on real hosts, so the server has a row to write.
func (h *host) request(out *bytes.Buffer, wanted int, report, others []job, listOthers bool) {
	h.seqno++
	h.rpcs++
	cpid := md5.Sum([]byte("host" + strconv.Itoa(h.id)))
	out.Reset()
	fmt.Fprintf(out, requestHead, h.key, h.id, h.seqno, seconds(wanted), seconds(wanted), wanted,
		h.id/250%250, h.id%250, h.id, hex.EncodeToString(cpid[:]), 180123456789-h.rpcs*4096-h.id)
	for i := range report {
		j := &report[i]
		fmt.Fprintf(out, requestResult, j.name)
		for _, f := range j.files {
			fmt.Fprintf(out, requestFile, f.name, f.nbytes, f.maxNbytes, f.md5, f.url)
		}
		out.WriteString("</result>\n")
	}
	out.WriteString(requestVersions)
	if listOthers {
		out.WriteString("<other_results>\n")
		for i := range others {
			fmt.Fprintf(out, requestOther, others[i].name)
		}
		out.WriteString("</other_results>\n")
	}
	out.WriteString("</scheduler_request>\n")
}

// seconds of work to ask for so that the server sends this many jobs of an hour or longer.
func seconds(jobs int) int { return jobs * 3000 }

// jobsOf reads the jobs of a reply.
func jobsOf(reply []byte) []job {
	var jobs []job
	rest := string(reply)
	files := map[string]outputFile{}
	for {
		start := strings.Index(rest, "<file_info>")
		at := strings.Index(rest, "<result>")
		if at < 0 {
			return jobs
		}
		if start >= 0 && start < at {
			end := strings.Index(rest[start:], "</file_info>")
			if end < 0 {
				return jobs
			}
			info := rest[start : start+end]
			if strings.Contains(info, "<upload_when_present") {
				f := outputFile{name: text(info, "name"), maxNbytes: text(info, "max_nbytes"),
					signature: text(info, "xml_signature"), url: text(info, "url")}
				files[f.name] = f
			}
			rest = rest[start+end:]
			continue
		}
		end := strings.Index(rest[at:], "</result>")
		if end < 0 {
			return jobs
		}
		body := rest[at : at+end]
		j := job{name: text(body, "name"), wuName: text(body, "wu_name")}
		for tail := body; ; {
			ref := text(tail, "file_name")
			if ref == "" {
				break
			}
			if f, ok := files[ref]; ok {
				j.files = append(j.files, f)
			}
			tail = tail[strings.Index(tail, "</file_name>")+12:]
		}
		jobs = append(jobs, j)
		rest = rest[at+end:]
	}
}

// text is the trimmed text of the first element of this name; empty if there is none.
func text(xml, name string) string {
	start := strings.Index(xml, "<"+name+">")
	if start < 0 {
		return ""
	}
	start += len(name) + 2
	end := strings.Index(xml[start:], "</"+name+">")
	if end < 0 {
		return ""
	}
	return strings.TrimSpace(xml[start : start+end])
}

// upload writes an upload request for f, whose contents depend on seed and size alone (so instances of a workunit
// agree), and sets f's MD5 and size.
func (f *outputFile) upload(out *bytes.Buffer, seed string, size int) {
	block := md5.Sum([]byte(seed))
	data := bytes.Repeat([]byte(hex.EncodeToString(block[:])), size/32+1)[:size]
	sum := md5.Sum(data)
	f.md5, f.nbytes = hex.EncodeToString(sum[:]), size
	out.Reset()
	fmt.Fprintf(out, uploadHead, f.name, f.signature, f.maxNbytes, f.nbytes, f.md5)
	out.Write(data)
}
