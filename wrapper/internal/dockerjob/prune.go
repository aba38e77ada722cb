package dockerjob

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
)

// What other jobs of this client have left in the engine: containers of jobs that were aborted or whose project
// was detached while no wrapper ran, and images of projects that are gone. Clients before
// 8.2 clean nothing, later ones only containers and Podman's images (spec 07 §5.3, §11).

const (
	labelClient = "boinc.client" // which client made it: engines are shared
	labelSlot   = "boinc.slot"   // slot directory of the container's job
	labelKeep   = "boinc.keep"   // the image stays for later jobs

	pruneStamp  = "boinc_pruned"
	prunePeriod = time.Hour
	orphanAge   = 7 * 24 * time.Hour
)

// clientID tells this client from others that use the same engine, also from containers with the same paths.
func (s *Session) clientID() string {
	data, err := filepath.Abs(filepath.Join(s.dir, "..", ".."))
	if err != nil {
		data = s.dir
	}
	return hash8(s.init.HostCPID + "\n" + data)
}

// prune removes leftovers, at most once an hour. Best effort: never in the way of the job.
func (s *Session) prune(ctx context.Context) {
	if s.rt.Standalone() || !s.pruneDue() {
		return
	}
	s.pruneContainers(ctx)
	s.pruneImages(ctx)
}

func (s *Session) pruneDue() bool {
	stamp := filepath.Join(s.project, pruneStamp)
	if st, err := os.Stat(stamp); err == nil && time.Since(st.ModTime()) < prunePeriod && time.Until(st.ModTime()) < prunePeriod {
		return false
	}
	os.Remove(stamp)
	return os.WriteFile(stamp, nil, 0o644) == nil
}

func (s *Session) pruneContainers(ctx context.Context) {
	names, err := s.eng.ContainersByLabel(ctx, labelClient+"="+s.clientID())
	if err != nil {
		return
	}
	suspects := map[string]map[string]string{}
	for _, name := range names {
		if name == s.container || ctx.Err() != nil {
			continue
		}
		labels, err := s.eng.ContainerLabels(ctx, name)
		if err != nil || labels[labelSlot] == "" || slotBelongsTo(labels[labelSlot], labels["boinc.result"]) {
			continue
		}
		suspects[name] = labels
	}
	if len(suspects) > 0 { // the client deletes init_data.xml before it writes a new one: look again
		pause(ctx, 3*time.Second)
	}
	for name, labels := range suspects {
		if ctx.Err() != nil || slotBelongsTo(labels[labelSlot], labels["boinc.result"]) {
			continue
		}
		if s.eng.Remove(ctx, name) == nil {
			s.logf("removed the container %s, whose job does not exist any more", name)
		}
	}
}

// slotBelongsTo tells whether the slot is still that job's: a job keeps its slot for life.
func slotBelongsTo(slot, result string) bool {
	if _, err := os.Stat(filepath.Join(slot, boinc.LockFile)); err == nil {
		return true // a program runs there, whosever it is
	}
	d, err := boinc.ReadInitData(filepath.Join(slot, boinc.InitDataFile))
	if err != nil {
		return !os.IsNotExist(err)
	}
	return d.ResultName == result
}

func (s *Session) pruneImages(ctx context.Context) {
	refs, err := s.eng.ImagesByLabel(ctx, labelClient+"="+s.clientID())
	if err != nil {
		return
	}
	for _, ref := range refs {
		info, err := s.eng.InspectImage(ctx, ref)
		if err != nil || ctx.Err() != nil {
			continue
		}
		folder := info.Labels["boinc.project"]
		if folder == "" || strings.ContainsAny(folder, `/\`) || info.Labels["boinc.content"] == s.image.hash {
			continue
		}
		_, err = os.Stat(filepath.Join(s.project, "..", folder))
		gone := os.IsNotExist(err)
		keep, _ := strconv.ParseBool(info.Labels[labelKeep])
		old := !info.Created.IsZero() && time.Since(info.Created) > orphanAge
		if !gone && (keep || !old) {
			continue
		}
		if s.eng.RemoveImage(ctx, ref) == nil { // refused while a container uses it
			why := "which no job has used for a week"
			if gone {
				why = "whose project was detached"
			}
			s.logf("removed the image %s, %s", ref, why)
		}
	}
}
