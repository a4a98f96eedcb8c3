package collector_test

import (
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"kivaloo"
	"kivaloo/contrib/collector"
)

// A program with two stores: each has a label.
func Example() {
	registry := prometheus.NewRegistry() // often prometheus.DefaultRegisterer, with promhttp.Handler
	for _, name := range []string{"users", "sessions"} {
		db, err := kivaloo.OpenMemory(kivaloo.Options{}) // a real program calls kivaloo.Open
		if err != nil {
			log.Fatal(err)
		}
		defer db.Close()
		prometheus.WrapRegistererWith(prometheus.Labels{"store": name}, registry).MustRegister(collector.DB(db))
	}

	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "kivaloo_store_block_bytes" {
				fmt.Println(metric.GetLabel()[0].GetValue(), metric.GetGauge().GetValue())
			}
		}
	}
	// Output:
	// sessions 2048
	// users 2048
}
