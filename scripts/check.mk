# SPDX-License-Identifier: Apache-2.0
# Tests: what `make check` and its parts run.

test-programs: $(BUILD)/dray $(UNIT) $(INTEG_C) $(BENCH)
check-unit: deps-quiet $(UNIT) ## unit tests
	$(Q)scripts/run-tests $(UNIT)
check-integration: deps-quiet test-programs ## integration tests (root)
	$(Q)BUILD=$(abspath $(BUILD)) scripts/run-tests $(INTEG_C) $(wildcard tests/integration/*.sh)
check: deps-quiet test-programs ## all tests, the soft-dirty VM among them
	$(Q)BUILD=$(abspath $(BUILD)) scripts/run-tests $(UNIT) $(filter $(BUILD)/tests/integration/%,$(INTEG_C)) $(sort $(wildcard tests/integration/*.sh tests/vm/*.sh))
clean: ## remove what was built
	$(Q)rm -rf $(BUILD)
help: ## this list
	$(Q)grep -hE '^[a-z-]+:.*## ' Makefile scripts/*.mk | sed 's/:.*## /\t/' | sort | expand -t 22
.PHONY: test-programs check-unit check-integration check clean help
