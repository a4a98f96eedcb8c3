package stress

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

func mustDistribution(t *testing.T, text string) Distribution {
	t.Helper()
	d, err := ParseDistribution(text)
	must.Do(t, err)
	return d
}

func TestParseDistribution(t *testing.T) {
	for text, want := range map[string]string{
		"uniform": "uniform", "latest": "latest", "sequential": "sequential",
		"zipfian": "zipfian:0.99", "zipfian:0.5": "zipfian:0.5",
		"hotspot": "hotspot:0.2:0.8", "hotspot:0.01:0.99": "hotspot:0.01:0.99",
	} {
		if got := mustDistribution(t, text).String(); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"", "zipf", "zipfian:1", "zipfian:0", "zipfian:NaN", "zipfian:", "hotspot:0.5", "hotspot:0.5:2", "uniform:1", "latest zipfian"} {
		if _, err := ParseDistribution(text); err == nil || !strings.Contains(err.Error(), "distribution") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestZeta compares with YCSB, which has the sum for its ten billion items as a constant. The small
// sum is computed here.
func TestZeta(t *testing.T) {
	z := newZipf(0.99)
	if got, want := z.zetaOf(zipfItems), 26.46902820178302; math.Abs(got-want) > 1e-6 {
		t.Errorf("zeta(%d, 0.99) = %.9f, want %.9f", uint64(zipfItems), got, want)
	}
	want := 0.0
	for i := 1; i <= 54321; i++ {
		want += math.Pow(float64(i), -0.99)
	}
	if got := z.zetaOf(54321); math.Abs(got-want) > 1e-6 {
		t.Errorf("zeta(54321, 0.99) = %.12f, want %.12f", got, want)
	}
}

// counts returns how often each of n records is picked.
func counts(t *testing.T, distribution string, n uint64, picks int) []float64 {
	pick := mustDistribution(t, distribution).picker(rand.New(rand.NewPCG(1, 2)), newKeyspace(n))
	of := make([]float64, n)
	for range picks {
		of[pick(n)] += 1 / float64(picks)
	}
	return of
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within*want {
		t.Errorf("%s: %.4f, want %.4f", what, got, want)
	}
}

func TestPicks(t *testing.T) {
	const n, picks = 1000, 400_000
	for _, share := range counts(t, "uniform", n, picks) {
		near(t, "uniform", share, 1.0/n, 0.3)
	}
	for i, share := range counts(t, "sequential", n, picks) {
		if math.Abs(share-1.0/n) > 1e-9 {
			t.Fatalf("sequential: record %d has %g", i, share)
		}
	}
	hot := 0.0
	for _, share := range counts(t, "hotspot:0.1:0.7", n, picks)[:n/10] {
		hot += share
	}
	near(t, "hotspot", hot, 0.7, 0.01)

	latest := counts(t, "latest", n, picks)
	zeta := newZipf(defaultTheta).zetaOf(n)
	near(t, "latest, the last record", latest[n-1], 1/zeta, 0.02)
	near(t, "latest, the one before it", latest[n-2], math.Pow(2, -defaultTheta)/zeta, 0.02)

	// The popular ranks of a scrambled zipfian land anywhere, and are as popular as those of all
	// ten billion.
	zipfian := counts(t, "zipfian", n, picks)
	zeta = newZipf(defaultTheta).zetaOf(zipfItems)
	rest := 1 - 1/zeta - math.Pow(2, -defaultTheta)/zeta
	near(t, "zipfian, the most popular", zipfian[mix64(0)%n], 1/zeta, 0.1)
	near(t, "zipfian, all but two", 1-zipfian[mix64(0)%n]-zipfian[mix64(1)%n], rest, 0.02)
}

// TestPicksOfFew checks that a latest choice follows added records, and that every distribution
// works with a single record.
func TestPicksOfFew(t *testing.T) {
	for _, d := range []string{"uniform", "zipfian", "latest", "hotspot", "sequential"} {
		pick := mustDistribution(t, d).picker(rand.New(rand.NewPCG(1, 2)), newKeyspace(1))
		for n := uint64(1); n < 50; n++ {
			for range 100 {
				if got := pick(n); got >= n {
					t.Fatalf("%s: %d of %d", d, got, n)
				}
			}
		}
	}
}

func TestMix(t *testing.T) {
	m, err := ParseMix("get=9,range=0.5,cas=0.5")
	if err != nil || m.String() != "get=90,range=5,cas=5" {
		t.Fatalf("%v %v", m, err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var got Mix
	for range 100_000 {
		got[m.pick(random)] += 1.0 / 100_000
	}
	for i := range m {
		if math.Abs(got[i]-m[i]) > 0.01 {
			t.Errorf("%s: %.3f, want %.3f", Op(i), got[i], m[i])
		}
	}
	for _, text := range []string{"", "get", "get=0", "get=-1", "get=1,get=1", "peek=1", "get=NaN", "get=Inf", "get=1,"} {
		if _, err := ParseMix(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	for name, want := range map[string]string{"a": "get=50,set=50 zipfian:0.99", "b": "get=95,set=5 zipfian:0.99", "c": "get=100 zipfian:0.99",
		"d": "get=95,insert=5 latest", "e": "insert=5,range=95 zipfian:0.99", "f": "get=50,rmw=50 zipfian:0.99"} {
		if m, d, err := YCSB(name); err != nil || m.String()+" "+d.String() != want {
			t.Errorf("workload %s is %s %s, %v; want %s", name, m, d, err, want)
		}
	}
	if _, _, err := YCSB("g"); err == nil {
		t.Error("there is a workload g")
	}
}

// FuzzWorkload checks that an accepted mix or distribution is shown in a form with the same
// meaning, and chooses only operations that are in it and records that exist. The output of other
// programs must be understood or refused.
func FuzzWorkload(f *testing.F) {
	for _, s := range []string{"get=90,set=10", "get=1e-300,set=1e9", "get=0", "get=1,get=1", "=1", "uniform", "zipfian:0.5", "zipfian:0.9999999999999999",
		"zipfian:1e-320", "hotspot:0.5:0.01", "hotspot:1e-320:0.5", "sequential", "latest", "\"test\",\"rps\"\n\"GET\",\"1.5\"", "\"rps\"\n",
		"gc 1 @0.012s 2%: 0.01+1.2+0.003 ms clock, 0.03+0.4/1.1/0.2+0.007 ms cpu, 4->4->1 MB"} {
		f.Add(s, uint64(1000), uint64(1))
	}
	f.Fuzz(func(t *testing.T, text string, n, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 0))
		n = max(n, 1)
		if m, err := ParseMix(text); err == nil {
			again, err := ParseMix(m.String())
			for i := range m {
				if err != nil || math.Abs(again[i]-m[i]) > 1e-3 || (again[i] > 0) != (m[i] > 0) {
					t.Fatalf("%q is %v, shown as %s, which is %v, %v", text, m, m, again, err)
				}
			}
			if op := m.pick(random); m[op] == 0 {
				t.Fatalf("%q chooses %s", text, op)
			}
		}
		if d, err := ParseDistribution(text); err == nil {
			if again, err := ParseDistribution(d.String()); err != nil || again.String() != d.String() {
				t.Fatalf("%q is shown as %s, which is %s, %v", text, d, again, err)
			}
			pick := d.picker(random, &keyspace{})
			for range 20 {
				if i := pick(n); i >= n {
					t.Fatalf("%q chooses record %d of %d", text, i, n)
				}
			}
		}
	})
}
