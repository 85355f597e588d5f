package consul_test

import (
	"testing"

	"github.com/seed27495941/seckill/conformance"
)

func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server; run without -short")
	}
	conformance.Save(t, conformance.Run(t, newHarness(1)))
}

// What one node can't show is shown on three in every run, the rest of the
// suite when there is time.
func TestConformanceOnThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("needs servers; run without -short")
	}
	cases := conformance.Needing(conformance.Majority)
	if everything() {
		cases = conformance.Cases()
	}
	conformance.Save(t, conformance.Run(t, newHarness(3), cases...))
}
