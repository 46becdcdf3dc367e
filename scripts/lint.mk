# SPDX-License-Identifier: Apache-2.0
# What can be said about the source without running it. Each part stands alone: `make lint-includes`. Tools that are missing are skipped aloud.

LINT     := lint-includes lint-headers lint-text lint-names lint-functions lint-docs lint-shell lint-man lint-units lint-cppcheck lint-clang
OWN_H    := $(sort $(wildcard proto/*/*.h pageserver/*.h pageserver/*/*.h migrate/*/*.h bench/*.h tests/lib/*.h))
SHELLS   := $(sort $(wildcard scripts/* .ci/run tests/*/*.sh))
need      = command -v $(1) >/dev/null || { echo "skipped: $(1) is not installed"; exit 0; }

lint: $(LINT) ## check the source without running it
lint-includes: ## include directions: proto <- pageserver <- migrate
	$(Q)scripts/lint-includes
lint-headers: $(GEN_H) ## each header compiles alone
	$(Q)for h in $(OWN_H); do \
		echo "#include \"$$h\"" | $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -Werror -fsyntax-only -x c - || { echo "$$h does not compile alone"; exit 1; }; \
	done
lint-text: ## licence line, whitespace, words that don't belong into a commit
	$(Q)scripts/lint-text
lint-names: $(LIB) ## no two objects or symbols of the library may share a name, an archive keeps or links only one
	$(Q)! printf '%s\n' $(notdir $(LIB_OBJ)) | sort | uniq -d | grep . || { echo "share a name"; exit 1; }
	$(Q)! nm --defined-only -g $(LIB) | awk 'NF == 3 { print $$3 }' | sort | uniq -d | grep . || { echo "defined twice"; exit 1; }
lint-functions: ## functions above 100 lines are listed
	$(Q)scripts/lint-functions $(LIB_SRC) migrate/main.c
lint-docs: ## files, headings, options and targets that documents and comments name are there
	$(Q)$(call need,python3); scripts/lint-docs
lint-shell:
	$(Q)$(call need,shellcheck); grep -lE '^#!/bin/(ba)?sh' $(SHELLS) | xargs -P "$$(nproc)" -n 16 shellcheck -S warning -x -P tests/lib -e SC1010,SC1090,SC1091,SC2046
lint-man:
	$(Q)$(call need,mandoc); mandoc -Tlint -Wwarning docs/man/*.[1-8]
lint-units: $(BUILD)/dray ## systemd units
	$(Q)$(call need,systemd-analyze); mkdir -p $(BUILD)/units; for u in scripts/*.service.in scripts/*.socket.in; do \
		sed 's|@PREFIX@/bin/dray|$(abspath $(BUILD))/dray|' $$u > $(BUILD)/units/$$(basename $$u .in) || exit 1; \
	done; systemd-analyze verify --man=no $(BUILD)/units/*.service $(BUILD)/units/*.socket
# It knows neither scope cleanup nor that out parameters are written: leaks are for AddressSanitizer, use before writing is for gcc.
CPPCHECK_OFF := $(patsubst %,--suppress=%,missingIncludeSystem normalCheckLevelMaxBranches comparePointers memleak resourceLeak uninitvar)
# It reads no system headers, and takes lists made of macros for mistakes.
QUEUE_H  := $(firstword $(wildcard /usr/include/*/sys/queue.h /usr/include/sys/queue.h))
lint-cppcheck: $(GEN_H)
	$(Q)$(call need,cppcheck); cppcheck -q --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,portability -j 2 \
		$(CPPCHECK_OFF) $(QUEUE_H:%=--include=%) -D_GNU_SOURCE -I. $(filter-out %_blob.c,$(LIB_SRC)) migrate/main.c
lint-clang:
	$(Q)$(call need,clang); $(MAKE) --no-print-directory BUILD=$(BUILD)-clang CC=clang WERROR=1 all $(if $(V),,>/dev/null)
.PHONY: lint $(LINT)
