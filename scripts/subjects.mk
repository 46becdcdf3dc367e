# SPDX-License-Identifier: Apache-2.0
# Processes that tests move: always built plainly, also where the rest has sanitizers (a sanitizer's shadow memory is no subject).

$(BUILD)/subjects/workload: bench/workload.c tests/lib/page_data.c tests/lib/bench_env.c proto/base/io.c proto/base/err.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -I. -std=gnu11 -O2 -g -fPIE -pie -pthread $(WARN) -o $@ $^
test-programs: $(BUILD)/subjects/workload
