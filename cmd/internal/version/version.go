package version

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// Release is the version of a program that was not built from a tagged revision of the module.
const Release = "0.1.0"

// Info describes the origin of a program.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source; empty if unknown
	Modified bool   `json:"modified,omitempty"` // the source differed from that revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Of returns the origin of this program.
func Of() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return from(build)
}

func from(build *debug.BuildInfo) Info {
	i := Info{Version: Release, Go: build.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v := build.Main.Version; v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") {
		i.Version = strings.TrimPrefix(v, "v")
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	return i
}

// String formats the version in one line, such as "0.1.0 (revision 26cb2a3, go1.26.0,
// linux/amd64)".
func (i Info) String() string {
	var more []string
	if i.Revision != "" {
		revision := "revision " + i.Revision
		if i.Modified {
			revision += " with local changes"
		}
		more = append(more, revision)
	}
	return i.Version + " (" + strings.Join(append(more, i.Go, i.Platform), ", ") + ")"
}
