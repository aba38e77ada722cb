package dockerjob

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const imageConfig = `{"architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]}}`

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// member is a file of a test's archive.
type member struct{ name, text string }

func tarOf(members ...member) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: 0o644, Size: int64(len(m.text))})
		io.WriteString(w, m.text)
	}
	w.Close()
	return b.Bytes()
}

func untar(t *testing.T, raw []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r)
		out[h.Name] = string(text)
	}
}

func dockerArchive() []byte {
	id := digest(imageConfig)
	return tarOf(member{id + ".json", imageConfig}, member{"x/layer.tar", strings.Repeat("layer", 1000)},
		member{"manifest.json", `[{"Config":"` + id + `.json","RepoTags":["debian:latest","other:1"],"Layers":["x/layer.tar"],"More":{"a":1}}]`},
		member{"repositories", `{"debian":{"latest":"x"}}`})
}

func ociArchive() []byte {
	manifest := `{"schemaVersion":2,"config":{"digest":"sha256:` + digest(imageConfig) + `"},"layers":[]}`
	return tarOf(member{"blobs/sha256/" + digest(imageConfig), imageConfig}, member{"blobs/sha256/" + digest(manifest), manifest},
		member{"index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:` + digest(manifest) +
			`","annotations":{"io.containerd.image.name":"docker.io/library/debian:latest","k":"v"}}]}`})
}

func TestArchiveIsRenamed(t *testing.T) {
	var gz, zs bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(dockerArchive())
	w.Close()
	z, _ := zstd.NewWriter(&zs)
	z.Write(dockerArchive())
	z.Close()
	for name, in := range map[string][]byte{"docker": dockerArchive(), "gz": gz.Bytes(), "zst": zs.Bytes(), "oci": ociArchive()} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			a, err := renameArchive(bytes.NewReader(in), &out, "boinc_p:1")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(a.layers, []string{"sha256:aa", "sha256:bb"}) || a.ids[0] != "sha256:"+digest(imageConfig) {
				t.Errorf("%+v", a)
			}
			text := fmt.Sprint(untar(t, out.Bytes()))
			if strings.Contains(text, "debian") || strings.Contains(text, "other:1") || !strings.Contains(text, "boinc_p:1") {
				t.Error(text)
			}
			if m, ok := untar(t, out.Bytes())["manifest.json"]; ok {
				var list []map[string]any
				if json.Unmarshal([]byte(m), &list) != nil || list[0]["More"] == nil {
					t.Error(m)
				}
			}
		})
	}
}

func TestArchivesThatAreNoImage(t *testing.T) {
	id := digest(imageConfig)
	for want, in := range map[string][]byte{
		"tar file":                     []byte("hello, this is no archive at all"),
		"no image in it":               tarOf(member{"a", "b"}),
		"2 images instead of one":      tarOf(member{"manifest.json", `[{"Config":"a"},{"Config":"b"}]`}),
		"configuration is missing":     tarOf(member{"manifest.json", `[{"Config":"` + id + `.json"}]`}),
		"does not have the digest":     tarOf(member{strings.Repeat("0", 64) + ".json", imageConfig}, member{"manifest.json", `[{"Config":"` + strings.Repeat("0", 64) + `.json"}]`}),
		"names no layers":              tarOf(member{"c", "{}"}, member{"manifest.json", `[{"Config":"c"}]`}),
		"xz is not supported":          {0xfd, '7', 'z', 'X', 'Z', 0, 1},
		"manifest.json: no Config":     tarOf(member{"manifest.json", `[{}]`}),
		"index.json: no manifests":     tarOf(member{"index.json", `{}`}),
		"unexpected end of JSON input": tarOf(member{"manifest.json", ``}),
	} {
		if _, err := renameArchive(bytes.NewReader(in), io.Discard, "x:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzImageArchive(f *testing.F) {
	f.Add(dockerArchive())
	f.Add(ociArchive())
	f.Fuzz(func(t *testing.T, in []byte) {
		if a, err := renameArchive(bytes.NewReader(in), io.Discard, "x:1"); err == nil && len(a.layers) == 0 {
			t.Error("an image without layers")
		}
	})
}
