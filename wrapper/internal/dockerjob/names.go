// Package dockerjob runs one BOINC job in a container: the state machine of docker_wrapper (spec 07 §7).
package dockerjob

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
)

// standaloneName is the name of image and container without a client.
const standaloneName = "boinc"

var repositoryRE = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)

// asciiLower folds only A-Z, as the clients do: other bytes stay.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// ContainerName is the job's container: client 8.2 removes at its start every container that begins
// with boinc__ and has another name than this (spec 07 §5.3). A name the engine
// would refuse is repaired with a hash; such a container does not survive a client start.
func ContainerName(d *boinc.InitData) string {
	name := asciiLower("boinc__" + d.ProjectFolder() + "__" + d.ResultName)
	return repaired(name, regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`))
}

// ImageAlias is the readable name of the job's image (spec 07 §7.3). The image
// itself is found by content, see contentRef.
func ImageAlias(d *boinc.InitData, singlePurpose bool) string {
	if !singlePurpose {
		return repaired(asciiLower("boinc__"+d.ProjectFolder()+"__"+d.WUName), repositoryRE)
	}
	plan := d.PlanClass
	if plan == "" {
		plan = "cpu"
	}
	return cleanRepository("boinc_" + d.ProjectFolder() + "_" + d.AppName + "_" + plan + "_" + strconv.Itoa(d.AppVersion))
}

// contentRef names an image by what it is made of, so that jobs with the same
// Dockerfile and files share one build. It does not begin with boinc__ and
// so is out of the reach of the client's clean-up.
func contentRef(d *boinc.InitData, hash string) string {
	folder := d.ProjectFolder()
	if folder == "" {
		folder = "standalone"
	}
	return cleanRepository("boinc_"+folder) + ":" + hash[:32]
}

var (
	illegalRE   = regexp.MustCompile(`[^a-z0-9._-]`)
	separatorRE = regexp.MustCompile(`[._-]{2,}`)
)

// cleanRepository makes a legal repository name: illegal characters become a dash,
// a run of separators becomes its first one.
func cleanRepository(s string) string {
	s = illegalRE.ReplaceAllString(asciiLower(s), "-")
	s = separatorRE.ReplaceAllStringFunc(s, func(run string) string { return run[:1] })
	return shorten(strings.Trim(s, "._-"), s)
}

// repaired returns name if it is legal, else a legal one made unique by a hash of it.
func repaired(name string, legal *regexp.Regexp) string {
	if legal.MatchString(name) && len(name) <= 200 {
		return name
	}
	fixed := illegalRE.ReplaceAllString(name, "-")
	fixed = separatorRE.ReplaceAllStringFunc(strings.TrimPrefix(fixed, "boinc__"), func(run string) string { return run[:1] })
	fixed = "boinc__" + strings.Trim(fixed, "._-")
	if len(fixed) > 180 {
		fixed = strings.TrimRight(fixed[:180], "._-")
	}
	return fixed + "-" + hash8(name)
}

func shorten(s, full string) string {
	if len(s) <= 200 {
		return s
	}
	return strings.TrimRight(s[:180], "._-") + "-" + hash8(full)
}

func hash8(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}
