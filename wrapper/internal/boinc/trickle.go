package boinc

import (
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Names of the files of trickles, of early uploads and of sporadic jobs (spec 07 §1.3, §3.9, §3.10).
const (
	TrickleDownPrefix   = "trickle_down_"
	UploadRequestPrefix = "boinc_ufr_"
	SporadicAppFile     = "ac"
	SporadicClientFile  = "ca"
)

// trickleGap keeps two messages apart: the client names its copy by the second.
const trickleGap = 1500 * time.Millisecond

// outbox is what the program has laid down for the client to fetch. Guarded by Runtime.mu.
type outbox struct {
	tellTrickle, tellUpload bool // to be announced
	trickleStamp            fileStamp
	pending                 bool // the client has not fetched the last message
	gone                    time.Time
	uploads                 map[string]bool
}

type fileStamp struct {
	when time.Time
	size int64
}

// TrickleUp hands a message to the client, which sends it with its next request to the server. It returns
// false if the client has not fetched the one before: try again later, with fresh content.
// variety: letters, digits, _ . and -; body: XML.
func (r *Runtime) TrickleUp(variety, body string) (bool, error) {
	if r.standalone {
		return true, nil
	}
	variety = strings.Map(func(c rune) rune {
		if c < 128 && isNameByte(byte(c)) {
			return c
		}
		return '_'
	}, variety)
	r.mu.Lock()
	defer r.mu.Unlock()
	path := filepath.Join(r.dir, TrickleUpFile)
	if _, err := os.Lstat(path); err == nil {
		r.out.pending = true
		return false, nil
	}
	if r.out.pending {
		r.out.pending, r.out.gone = false, time.Now()
	}
	if time.Since(r.out.gone) < trickleGap {
		return false, nil
	}
	text := "<variety>" + variety + "</variety>\n" + body
	if err := WriteAtomic(path, []byte(text), 0o644); err != nil {
		return false, err
	}
	r.out.pending, r.out.tellTrickle = true, true
	r.out.trickleStamp = stampOf(path)
	return true, nil
}

// Announce looks for messages and requests for early uploads that somebody else has put into the slot (the program
// that we run), and tells the client of new ones. Call it about once per second.
func (r *Runtime) Announce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stamp := stampOf(filepath.Join(r.dir, TrickleUpFile)); stamp != r.out.trickleStamp {
		r.out.trickleStamp = stamp
		r.out.tellTrickle = r.out.tellTrickle || stamp != fileStamp{}
	}
	names, _ := filepath.Glob(filepath.Join(r.dir, UploadRequestPrefix+"*"))
	now := map[string]bool{}
	for _, name := range names {
		now[name] = true
		if !r.out.uploads[name] {
			r.out.tellUpload = true
		}
	}
	r.out.uploads = now
}

func stampOf(path string) fileStamp {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return fileStamp{}
	}
	return fileStamp{st.ModTime(), st.Size() + 1}
}

// announce sends what is to be told of the outbox. The caller holds r.mu.
func (r *Runtime) announce() {
	text := ""
	if r.out.tellTrickle {
		text += "<have_new_trickle_up/>\n"
	}
	if r.out.tellUpload {
		text += "<have_new_upload_file/>\n"
	}
	if text != "" && r.seg.Send(TrickleUp, text) {
		r.out.tellTrickle, r.out.tellUpload = false, false
	}
}

// TrickleDowns are the names of the messages from the server that wait in the slot, oldest first.
// Whoever uses one deletes it.
func (r *Runtime) TrickleDowns() []string {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TrickleDownPrefix) {
			out = append(out, e.Name())
		}
	}
	age := func(name string) int64 {
		v, _ := strconv.ParseInt(name[len(TrickleDownPrefix):], 10, 64)
		return v
	}
	sort.Slice(out, func(i, j int) bool { return age(out[i]) < age(out[j]) })
	return out
}

// Sporadic turns on the files by which a sporadic job and the client tell each other
// whether there is something to compute (spec 07 §3.10).
func (r *Runtime) Sporadic() error {
	for name, text := range map[string]string{SporadicAppFile: "", SporadicClientFile: "1\n"} {
		path := filepath.Join(r.dir, name)
		if _, err := os.Lstat(path); err == nil && name == SporadicAppFile {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o664); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sporadic = &sporadic{client: 1}
	return nil
}

type sporadic struct {
	client int // last written
	stamp  fileStamp
	app    int
}

// exchange brings both files up to date. The caller holds r.mu.
func (s *sporadic) exchange(dir string, state State) {
	if ca := state.Beat.SporadicCA; state.HaveHeartbeat && ca != s.client {
		path := filepath.Join(dir, SporadicClientFile)
		// In place, as the reader may keep it open; one digit and a line feed always.
		if f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o664); err == nil {
			if _, err := f.WriteAt([]byte(strconv.Itoa(ca)+"\n"), 0); err == nil {
				s.client = ca
			}
			f.Close()
		}
	}
	path := filepath.Join(dir, SporadicAppFile)
	stamp := stampOf(path)
	if stamp == s.stamp {
		return
	}
	if raw, err := os.ReadFile(path); err == nil {
		line, _, _ := strings.Cut(string(raw), "\n")
		if v, err := strconv.Atoi(strings.TrimSpace(strings.TrimRight(line, "\x00"))); err == nil && v >= 0 && v <= 2 {
			s.app = v
		}
		s.stamp = stamp
	}
}
