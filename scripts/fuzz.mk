# SPDX-License-Identifier: Apache-2.0
# Fuzzing with libFuzzer: each target for FUZZ_SECONDS, from generated seeds; what it finds stays in build/fuzz/corpus.

FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 20
FUZZ_DIR     := $(BUILD)/fuzz
FUZZ_NAMES   := $(notdir $(basename $(wildcard tests/fuzz/*.c)))
# The pure part of what takes requests, and what that is made of.
FUZZ_RPC     := $(patsubst %,migrate/rpc/%.c,request options option_values option_check rpc_session answer) \
                $(patsubst %,migrate/criu/%.c,command own_options option_file option_forms) migrate/cli/opt.c
FUZZ_SRC     := $(wildcard proto/*/*.c pageserver/*.c pageserver/*/*.c) $(FUZZ_RPC) tests/lib/remove_tree.c
FUZZ_OBJ     := $(FUZZ_SRC:%.c=$(FUZZ_DIR)/%.o) $(PROTOS:%=$(FUZZ_DIR)/gen/%.pb-c.o)
FUZZ_FLAGS   := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -pthread
DEPS_FUZZ    := clang llvm libclang-rt-14-dev

fuzz-deps:
	$(Q)scripts/deps --quiet $(DEPS_BUILD) $(DEPS_FUZZ)
fuzz: fuzz-deps $(FUZZ_NAMES:%=$(FUZZ_DIR)/%) ## fuzz every decoder, FUZZ_SECONDS (20) each
	$(Q)tests/fuzz/make-seeds $(FUZZ_DIR)/seeds
	$(Q)for t in $(FUZZ_NAMES); do \
		mkdir -p $(FUZZ_DIR)/corpus/$$t; \
		printf '  %-7s %s\n' FUZZ "$$t"; \
		$(FUZZ_DIR)/$$t -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -malloc_limit_mb=512 -timeout=10 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$(FUZZ_DIR)/$$t- $(FUZZ_DIR)/corpus/$$t $(FUZZ_DIR)/seeds/$$t > $(FUZZ_DIR)/$$t.log 2>&1 || \
			{ tail -n 40 $(FUZZ_DIR)/$$t.log; exit 1; }; \
		grep -E 'executed_units|new_units' $(FUZZ_DIR)/$$t.log; \
	done
.PHONY: fuzz fuzz-deps

$(FUZZ_DIR)/gen/%.o: $(BUILD)/gen/%.c $(GEN_H)
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(ALL_CPPFLAGS) -std=gnu11 -O1 -g -w $(PKG_CFLAGS) -c -o $@ $<
$(FUZZ_DIR)/%.o: %.c | $(GEN_H)
	$(Q)mkdir -p $(@D) && $(FUZZ_CC) $(ALL_CPPFLAGS) -std=gnu11 $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(PKG_CFLAGS) -MMD -MP -c -o $@ $<
$(FUZZ_NAMES:%=$(FUZZ_DIR)/%): $(FUZZ_DIR)/%: $(FUZZ_DIR)/tests/fuzz/%.o $(FUZZ_OBJ)
	$(call say,LD,$@)
	$(Q)$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS)
