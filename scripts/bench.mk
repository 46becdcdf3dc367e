# SPDX-License-Identifier: Apache-2.0
# Benchmarks. REPEATS=N (3), ONLY=PATTERN, LIMITS=CASE,... (all), BENCH_SIZE=small|full (full needs some 12 GiB of memory).

bench: deps-quiet $(BUILD)/dray $(BENCH) $(BUILD)/subjects/workload ## throughput, blackout, cost: build/bench/results.json and a table (root)
	$(Q)BUILD=$(abspath $(BUILD)) bench/run $(if $(REPEATS),--repeats $(REPEATS)) $(if $(ONLY),--only '$(ONLY)') $(if $(LIMITS),--limits '$(LIMITS)') $(if $(BENCH_SIZE),--size $(BENCH_SIZE))
bench-vm: deps-quiet $(BUILD)/dray $(BENCH) $(BUILD)/subjects/workload ## the page server beside criu's, in the VM and here: build/bench/vm.json (root)
	$(Q)BUILD=$(abspath $(BUILD)) bench/vm $(if $(REPEATS),--repeats $(REPEATS)) $(if $(BENCH_SIZE),--size $(BENCH_SIZE))
bench-plots: ## plots (SVG) of the last bench run: build/bench/*.svg
	$(Q)scripts/deps --quiet gnuplot-nox
	$(Q)BUILD=$(abspath $(BUILD)) bench/plot
.PHONY: bench bench-vm bench-plots
