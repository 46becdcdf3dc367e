# SPDX-License-Identifier: Apache-2.0
# The demonstration on one machine, from nothing.

demo: deps-quiet ## move a redis-server between two hosts on this machine (root)
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD) $(BUILD)/dray
	$(Q)BUILD=$(abspath $(BUILD)) tests/demo/run
.PHONY: demo
