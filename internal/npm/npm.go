// Package npm lets tests use programs that others publish for browsers, as they
// are: .ci/setup brings the packages, and here is what they must be.
package npm

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-64ad3862/gatehouse/internal/needs"
)

// A Package is known by its SHA-512, as npm's lock files have it.
type Package struct{ name, sum string }

// The packages that .ci/setup brings.
var (
	ALTCHA = Package{"altcha-3.2.2", "yNITQaRSkRe0u/hMxdzoXFFqxqn9iDt1rJ0reREU3D3uDD3w1oFz6v5C2PMww2XnGThtYUwe8MW+PxsiBglNqw=="}
	Axe    = Package{"axe-core-4.14.1", "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="}
)

// File returns a file of the package. Where .ci/setup has not been, the test is
// skipped, or fails if [needs.Variable] is 1.
func (p Package) File(t testing.TB, name string) []byte {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(filepath.Join(root, "bin", p.name+".tgz"))
	if errors.Is(err, fs.ErrNotExist) {
		needs.Missing(t, "npm: bin/"+p.name+".tgz is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha512.Sum512(packed); base64.StdEncoding.EncodeToString(sum[:]) != p.sum {
		t.Fatalf("npm: bin/%s.tgz is another than was tested", p.name)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("npm: %s in %s: %v", name, p.name, err)
		}
		if h.Name != "package/"+name {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
}

// moduleRoot is the folder of go.mod; a test begins in that of its package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("npm: not in a module")
		}
		dir = up
	}
	return "", err
}
