package stress

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// The test program also stands in for the programs that a comparison runs, depending on its
// arguments. The environment variable faultVar makes one of them misbehave.
const faultVar = "KIVALOO_STRESS_FAULT"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "serve":
			playServe(os.Args[3])
		}
	}
	goleak.VerifyTestMain(m)
}

// playServe plays `serve --dir DIR`.
func playServe(dir string) {
	fault := os.Getenv(faultVar)
	if fault == "serve dies" {
		fmt.Fprintln(os.Stderr, "disk on fire")
		os.Exit(3)
	}
	if fault == "serve is stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		panic(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "kivaloo.sock"))
	if err != nil {
		panic(err)
	}
	fmt.Fprint(os.Stderr, "listening\n")
	s := newFakeServer()
	if fault == "serve answers wrongly" {
		s.setTamper(func(answer []byte) []byte { answer[0] ^= 1; return answer })
	}
	if fault == "serve dies later" {
		s.setTamper(func([]byte) []byte { panic("disk on fire") })
	}
	s.serve(ln)
	os.Exit(0)
}
