package signin

import (
	"embed"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

//go:embed views static text
var files embed.FS

// sub returns a folder of the embedded files, which is there.
func sub(fsys fs.FS, dir string) fs.FS {
	f, err := fs.Sub(fsys, dir)
	if err != nil {
		panic(err) // dir is one of our own constants
	}
	return f
}

// overlay is two folders, of which the first lies over the second, file by file.
type overlay struct{ over, under fs.FS }

// Open implements [fs.FS].
func (o overlay) Open(name string) (fs.File, error) {
	if o.over != nil {
		f, err := o.over.Open(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return o.under.Open(name)
}

// ReadDir implements [fs.ReadDirFS]: what is in either.
func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	under, err := fs.ReadDir(o.under, name)
	if o.over == nil {
		return under, err
	}
	over, overErr := fs.ReadDir(o.over, name)
	if overErr != nil && (err != nil || !errors.Is(overErr, fs.ErrNotExist)) {
		return nil, overErr
	}
	for _, e := range under {
		if !slices.ContainsFunc(over, func(o fs.DirEntry) bool { return o.Name() == e.Name() }) {
			over = append(over, e)
		}
	}
	slices.SortFunc(over, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return over, nil
}
