// Promsd reads targets as Prometheus does: by its own HTTP service discovery, from one
// entry of http_sd_configs (YAML, standard input). It prints the groups as JSON, each with
// its targets and labels, or fails as Prometheus would log it.
//
// It is a module of its own, so that Prometheus stays out of what the product needs.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/http"
	"go.yaml.in/yaml/v2"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "promsd:", err)
		os.Exit(1)
	}
}

// run refreshes once.
func run(ctx context.Context, in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var config http.SDConfig
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	metrics := config.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	d, err := http.NewDiscovery(&config, discovery.DiscovererOptions{Metrics: metrics, SetName: "promsd"})
	if err != nil {
		return err
	}
	groups, err := d.Refresh(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(groups)
}
