package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(std streams) error {
	info, _ := debug.ReadBuildInfo()
	_, err := fmt.Fprintln(std.out, version(info))
	return err
}

// version says what a report of a bug needs. Info may be nil: not every build
// tool leaves one.
func version(info *debug.BuildInfo) string {
	v, commit := "(devel)", ""
	if info != nil {
		if info.Main.Version != "" {
			v = info.Main.Version
		}
		modified := ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = ", commit " + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = " with changes"
			}
		}
		if commit != "" {
			commit += modified
		}
	}
	return fmt.Sprintf("gatehouse %s%s, %s %s/%s", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
