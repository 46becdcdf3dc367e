# SPDX-License-Identifier: Apache-2.0
# The same tests, built otherwise; and what a maintainer needs now and then.

# These are about the address space that they run in, which valgrind and ThreadSanitizer lay out differently.
AT_FIXED := %/test_place %/vma_text
# A comma would end the call's argument.
ASAN_UBSAN := address,undefined
again = +$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)-$(1) $(2)

check-asan: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call again,asan,SAN=$(ASAN_UBSAN) check)
check-ubsan: ## unit tests under UndefinedBehaviorSanitizer alone
	$(call again,ubsan,SAN=undefined check-unit)
check-tsan: ## unit tests under ThreadSanitizer
	$(call again,tsan,SAN=thread check-unit UNIT='$(patsubst $(BUILD)/%,$(BUILD)-tsan/%,$(filter-out $(AT_FIXED),$(UNIT)))')
check-clang: ## unit tests, built by clang with -Werror
	$(call again,clang,CC=clang WERROR=1 check-unit)
check-valgrind: $(UNIT) ## unit tests under valgrind
	$(Q)command -v valgrind >/dev/null || { echo "valgrind is not installed"; exit 1; }
	$(Q)for t in $(filter-out $(AT_FIXED),$(UNIT)); do \
		echo "valgrind $$t"; \
		valgrind -q --suppressions=scripts/valgrind.supp --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite $$t >/dev/null || exit 1; \
	done

MANDIR   ?= $(PREFIX)/share/man
UNITS    := $(patsubst scripts/%.in,%,$(wildcard scripts/*.service.in scripts/*.socket.in))
UNITDIR  ?= $(PREFIX)/lib/systemd/system

install: $(BUILD)/dray ## install below PREFIX (and DESTDIR)
	install -D -m 755 $(BUILD)/dray $(DESTDIR)$(PREFIX)/bin/dray
	install -D -m 644 docs/man/dray.1 $(DESTDIR)$(MANDIR)/man1/dray.1
	install -D -m 644 docs/man/dray-criu.1 $(DESTDIR)$(MANDIR)/man1/dray-criu.1
	install -D -m 644 docs/man/dray-agent.8 $(DESTDIR)$(MANDIR)/man8/dray-agent.8
	install -D -m 644 docs/man/dray-service.8 $(DESTDIR)$(MANDIR)/man8/dray-service.8
	install -D -m 644 docs/man/dray-page-server.8 $(DESTDIR)$(MANDIR)/man8/dray-page-server.8
	install -d $(DESTDIR)$(UNITDIR)
	for u in $(UNITS); do sed 's|@PREFIX@|$(PREFIX)|' scripts/$$u.in > $(DESTDIR)$(UNITDIR)/$$u && chmod 644 $(DESTDIR)$(UNITDIR)/$$u || exit 1; done
uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/dray $(DESTDIR)$(MANDIR)/man1/dray.1 $(DESTDIR)$(MANDIR)/man1/dray-criu.1 $(DESTDIR)$(MANDIR)/man8/dray-agent.8 \
		$(DESTDIR)$(MANDIR)/man8/dray-service.8 $(DESTDIR)$(MANDIR)/man8/dray-page-server.8 \
		$(UNITS:%=$(DESTDIR)$(UNITDIR)/%)
install-criu: install ## install, and the name criu beside it: in the place of a distribution's criu
	$(Q)[ ! -e $(DESTDIR)$(PREFIX)/bin/criu ] || [ -L $(DESTDIR)$(PREFIX)/bin/criu ] || \
		{ echo "$(DESTDIR)$(PREFIX)/bin/criu is somebody else's: remove it, or choose another PREFIX"; exit 1; }
	ln -sf dray $(DESTDIR)$(PREFIX)/bin/criu
uninstall-criu: ## remove the name criu again
	$(Q)[ "$$(readlink $(DESTDIR)$(PREFIX)/bin/criu)" != dray ] || rm -f $(DESTDIR)$(PREFIX)/bin/criu

man: $(BUILD)/dray ## bring the man pages' options in line with the program's tables
	$(Q)for p in docs/man/*.[1-8]; do scripts/man-options $(BUILD)/dray $$p > $(BUILD)/man.new && cp $(BUILD)/man.new $$p || exit 1; done
docs-tables: $(BUILD)/dray ## bring the tables in docs/ in line with the program's own
	$(Q)for p in $$(grep -l '^<!-- dray --doc ' docs/*.md); do \
		scripts/doc-tables $(BUILD)/dray $$p > $(BUILD)/doc.new && cp $(BUILD)/doc.new $$p || exit 1; done
format: ## clang-format on the lines changed since HEAD
	$(Q)git diff -U0 HEAD -- '*.[ch]' | clang-format-diff -p1 -i
compdb: ## compile_commands.json, by bear
	$(Q)bear -- $(MAKE) --no-print-directory -B all
dist: ## drayage-VERSION.tar.gz of HEAD
	$(Q)mkdir -p $(BUILD)
	git archive --prefix=drayage-$(VERSION)/ -o $(BUILD)/drayage-$(VERSION).tar.gz HEAD
.PHONY: check-asan check-ubsan check-tsan check-clang check-valgrind install uninstall install-criu uninstall-criu man docs-tables format compdb dist
