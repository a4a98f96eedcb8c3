package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestString(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	for want, build := range map[string]*debug.BuildInfo{
		Release + " (go1.26.0, " + platform + ")": {GoVersion: "go1.26.0"},
		"1.2.3 (revision abc with local changes, go1.26.0, " + platform + ")": {
			GoVersion: "go1.26.0",
			Main:      debug.Module{Version: "v1.2.3"},
			Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		},
		Release + " (revision abc, go1.26.0, " + platform + ")": {
			GoVersion: "go1.26.0",
			Main:      debug.Module{Version: "v0.0.0-20261127000000-abcdef"},
			Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
		},
	} {
		if got := from(build).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
