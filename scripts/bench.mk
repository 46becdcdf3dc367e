# SPDX-License-Identifier: Apache-2.0
# Benchmarks. REPEATS=N (3), ONLY=PATTERN, LIMITS=CASE,... (all), BENCH_SIZE=small|full (full needs some 12 GiB of memory).

bench: deps-quiet $(BUILD)/dray $(BENCH) $(BUILD)/subjects/workload ## throughput, blackout, cost: build/bench/results.json and a table (root)
	$(Q)BUILD=$(abspath $(BUILD)) bench/run $(if $(REPEATS),--repeats $(REPEATS)) $(if $(ONLY),--only '$(ONLY)') $(if $(LIMITS),--limits '$(LIMITS)') $(if $(BENCH_SIZE),--size $(BENCH_SIZE))
bench-plots: ## plots (SVG) of the last bench run: build/bench/*.svg
	$(Q)scripts/deps --quiet gnuplot-nox
	$(Q)BUILD=$(abspath $(BUILD)) bench/plot
.PHONY: bench bench-plots
