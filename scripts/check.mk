# SPDX-License-Identifier: Apache-2.0
# Tests: what `make check` and its parts run.

test-programs: $(BUILD)/dray $(UNIT) $(INTEG_C) $(BENCH)
# What is missing is installed first, then make reads itself again: only then pkg-config answers.
check-unit check-integration check: deps-quiet
	$(Q)$(MAKE) --no-print-directory run-$@
check-unit: ## unit tests
check-integration: ## integration tests (root)
check: ## all tests, the soft-dirty VM among them
run-check-unit: $(UNIT)
	$(Q)scripts/run-tests $(UNIT)
run-check-integration: test-programs
	$(Q)BUILD=$(abspath $(BUILD)) scripts/run-tests $(filter $(BUILD)/tests/integration/%,$(INTEG_C)) $(sort $(wildcard tests/integration/*.sh))
# The VM takes longest and goes first.
run-check: test-programs
	$(Q)BUILD=$(abspath $(BUILD)) SAN=$(SAN) scripts/run-tests $(sort $(wildcard tests/vm/*.sh)) $(UNIT) $(filter $(BUILD)/tests/integration/%,$(INTEG_C)) $(sort $(wildcard tests/integration/*.sh))
soak: deps-quiet test-programs ## a process that does everything at random moves to and fro: SOAK_SECONDS=N (300), SEED=N, HURT=1 (root)
	$(Q)BUILD=$(abspath $(BUILD)) HURT=$(HURT) tests/soak/run $(or $(SOAK_SECONDS),300) $(SEED)
.PHONY: soak
clean: ## remove what was built
	$(Q)rm -rf $(BUILD)
help: ## this list
	$(Q)grep -hE '^[a-z-]+:.*## ' Makefile scripts/*.mk | sed 's/:.*## /\t/' | sort | expand -t 22
.PHONY: test-programs check-unit check-integration check run-check-unit run-check-integration run-check clean help
