package stress

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test program also stands in for the programs that a comparison runs, as their
// arguments tell. faultVar, in the environment, makes one of them misbehave.
const faultVar = "KIVALOO_STRESS_FAULT"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "serve":
			playServe(os.Args[3])
		case "--port":
			playRedisServer(os.Args[4])
		case "-s":
			playRedisBenchmark(os.Args)
		}
	}
	goleak.VerifyTestMain(m)
}

// playServe is `serve --dir DIR`.
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
	// One collection before the rounds, to be left out, and lines that are not one.
	fmt.Fprint(os.Stderr, "gc 1 @0.1s\nlistening\n")
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

// playRedisServer is a server that has a log to rewrite when it is first asked.
func playRedisServer(socket string) {
	ln, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	for asked := 0; ; {
		nc, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		b := make([]byte, 100)
		for {
			n, err := nc.Read(b)
			if err != nil {
				break
			}
			if string(b[:n]) != "INFO persistence\r\n" {
				panic(string(b[:n]))
			}
			fmt.Fprintf(nc, "$30\r\naof_rewrite_in_progress:%d\r\n", 1-min(asked, 1))
			asked++
		}
	}
}

func playRedisBenchmark(args []string) {
	switch os.Getenv(faultVar) {
	case "benchmark fails":
		fmt.Fprintln(os.Stderr, "no memory")
		os.Exit(1)
	case "benchmark babbles":
		fmt.Println("all is well")
	case "benchmark hangs":
		time.Sleep(time.Hour)
	default:
		if len(args[13]) != KeyLen-12+len("__rand_int__") || args[12] == "SET" && len(args[14]) != KeyLen {
			panic(args)
		}
		rate := map[string]string{"SET": "400000.50", "GET": "900000.00"}[args[12]]
		fmt.Printf("\"test\",\"rps\",\"avg_latency_ms\"\n\"%s\",\"%s\",\"1.0\"\n", args[12], rate)
	}
	os.Exit(0)
}
