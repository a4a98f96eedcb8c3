//go:build !race

package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// packages are those that the examples of docs/library.md may use.
var packages = []string{
	"bytes", "context", "errors", "fmt", "log", "log/slog", "strconv", "time",
	"github.com/prometheus/client_golang/prometheus", "kivaloo", "kivaloo/contrib/collector",
}

// Each example of docs/library.md compiles and works, as a part of a function of its own.
func TestLibrary(t *testing.T) {
	const name = "docs/library.md"
	text, err := os.ReadFile(filepath.Join(root, name))
	must.Do(t, err)
	var functions, calls strings.Builder
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```\n").FindAllSubmatchIndex(text, -1)
	for _, at := range blocks {
		line := 1 + strings.Count(string(text[:at[2]]), "\n")
		fmt.Fprintf(&functions, "func line%d(ctx context.Context, address string, db *kivaloo.DB, client *kivaloo.Client) error {\n"+
			"//line %s:%d\n%sreturn nil\n}\n\n", line, name, line, text[at[2]:at[3]])
		fmt.Fprintf(&calls, "run(\"line %d\", line%d)\n", line, line)
	}
	if len(blocks) < 15 {
		t.Errorf("only %d examples", len(blocks))
	}
	program := `
func main() {
	` + calls.String() + `
}

func run(name string, example func(ctx context.Context, address string, db *kivaloo.DB, client *kivaloo.Client) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := kivaloo.OpenMemory(kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	client, err := kivaloo.Dial(ctx, os.Args[1], kivaloo.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	if err := example(ctx, os.Args[1], db, client); err != nil {
		log.Fatal(name, ": ", err)
	}
}

` + functions.String()
	imports := "import \"os\"\n"
	for _, path := range packages {
		if strings.Contains(program, filepath.Base(path)+".") {
			imports += fmt.Sprintf("import %q\n", path)
		}
	}
	dir := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n"+imports+program), 0o600))
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "library"), filepath.Join(dir, "main.go"))
	build.Dir = root // the module that imports are of
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	addr, stop, err := (&wiretest.Server{Extensions: true}).Start(dir)
	must.Do(t, err)
	defer stop()
	examples := exec.Command(filepath.Join(dir, "library"), addr)
	examples.Dir = dir
	if said, err := examples.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
