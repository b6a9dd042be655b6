package app

import (
	"runtime/debug"
	"strings"
)

// Build says what was built.
type Build struct {
	Version  string // a release's tag, or "devel"
	Revision string // commit; empty: not known
	Modified bool   // whether the tree had changes that were not committed
	Go       string // release of the Go tool
}

// ReadBuild reads what the Go tool has written into the program.
func ReadBuild() Build {
	b := Build{Version: "devel"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if v := info.Main.Version; v != "" && !strings.HasPrefix(v, "(") {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}
