# SPDX-License-Identifier: Apache-2.0
# Processes that tests move: always built plainly, also where the rest has sanitizers (a sanitizer's shadow memory is no subject).

$(BUILD)/subjects/workload: bench/workload.c tests/lib/page_data.c tests/lib/bench_env.c proto/base/io.c proto/base/err.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -I. -std=gnu11 -O2 -g -fPIE -pie -pthread $(WARN) -o $@ $^
test-programs: $(BUILD)/subjects/workload

# The same program in three shapes: the layout, the libraries and the thread pointer differ.
GOER_FLAGS := -D_GNU_SOURCE -I. -std=gnu11 -O2 -g -pthread $(WARN)
$(BUILD)/subjects/goes_on: tests/programs/goes_on.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(GOER_FLAGS) -fPIE -pie -o $@ $^
$(BUILD)/subjects/goes_on_static: tests/programs/goes_on.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(GOER_FLAGS) -static -o $@ $^
$(BUILD)/subjects/goes_on_fixed: tests/programs/goes_on.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) $(GOER_FLAGS) -fno-pie -no-pie -o $@ $^
$(BUILD)/subjects/zoo: tests/programs/zoo.c tests/lib/zoo.c tests/lib/zoo_fd.c tests/lib/zoo_mm.c tests/lib/zoo_refused.c tests/lib/zoo_sock.c tests/lib/zoo_task.c
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -I. -std=gnu11 -O2 -g -fPIE -pie -pthread $(WARN) -o $@ $^
test-programs: $(addprefix $(BUILD)/subjects/,goes_on goes_on_static goes_on_fixed zoo)
$(BUILD)/subjects/nomad: $(addprefix tests/programs/nomad/,nomad.c memory.c descriptors.c waits.c) tests/programs/nomad/nomad.h
	$(call say,SUBJECT,$@)
	$(Q)mkdir -p $(@D) && $(CC) -D_GNU_SOURCE -I. -std=gnu11 -O2 -g -fPIE -pie -pthread $(WARN) -o $@ $(filter %.c,$^)
test-programs: $(BUILD)/subjects/nomad
