# SPDX-License-Identifier: Apache-2.0
# Drayage. `make help` lists the targets. Objects under build/ (another place: BUILD=dir). V=1 shows the commands.
# CFLAGS, CPPFLAGS, LDFLAGS of the user are appended to, never replaced.

VERSION  := 0.1.0
BUILD    ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
SAN      ?=
WERROR   ?=
Q        := $(if $(V),,@)
say       = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

PKGS     := libprotobuf-c liburing liblz4 libxxhash openssl
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

# clang finds -Wcast-qual inside the kernel's netlink macros too; gcc looks for it in every build.
WARN     := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith $(if $(findstring clang,$(CC)),,-Wcast-qual) \
            -Wwrite-strings -Wformat=2 -Wswitch-enum -Wundef $(if $(WERROR),-Werror)
ifeq ($(SAN),)
HARDEN   := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
OPT      := -O2 -g
else
HARDEN   := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
OPT      := -O1 -g
endif
ALL_CPPFLAGS := -D_GNU_SOURCE -DDRAY_VERSION='"$(VERSION)"' -I. -I$(BUILD)/gen $(CPPFLAGS)
ALL_CFLAGS   := -std=gnu11 $(OPT) $(HARDEN) -fPIE -pthread $(WARN) $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS  := -pie -pthread -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SAN),-fsanitize=$(SAN)) $(LDFLAGS)

PROTOS   := images control state rpc
GEN_C    := $(PROTOS:%=$(BUILD)/gen/%.pb-c.c)
GEN_H    := $(PROTOS:%=$(BUILD)/gen/%.pb-c.h)
LIB_SRC  := $(sort $(wildcard proto/*/*.c pageserver/*.c pageserver/*/*.c migrate/*/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o) $(GEN_C:.c=.o)
LIB      := $(BUILD)/libdray.a
TESTLIB_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/lib/*.c)))
UNIT     := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/*.c)))
INTEG_C  := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/integration/*.c tests/programs/*.c)))
BENCH    := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard bench/*.c)))
FUZZ     := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/*.c)))

all: $(BUILD)/dray ## build the program
.PHONY: all
.SECONDARY:

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h &: proto/%.proto $(wildcard proto/*.proto)
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(BUILD)/gen && protoc-c --c_out=$(BUILD)/gen -Iproto $(notdir $<)

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(GEN_H)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(filter-out $(WARN),$(ALL_CFLAGS)) -w -c -o $@ $<

# Code that is copied into other processes: position independent, nothing outside itself, no instrumentation.
$(BUILD)/migrate/%_blob.o: migrate/%_blob.c
	$(call say,BLOB,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) -std=gnu11 -Os -fPIC -ffreestanding -fno-stack-protector -fno-jump-tables \
		-fcf-protection=none -mgeneral-regs-only -fno-asynchronous-unwind-tables $(WARN) \
		$(if $(findstring clang,$(CC)),-fno-builtin,-fno-tree-loop-distribute-patterns) \
		-MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c | $(GEN_H)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(LIB): $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/dray: $(BUILD)/migrate/main.o $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(LIBS)

$(UNIT) $(INTEG_C) $(BENCH): $(BUILD)/%: $(BUILD)/%.o $(TESTLIB_OBJ) $(LIB)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(PKG_LIBS) $(if $(findstring tests/unit,$@),-lcmocka) $(LIBS)

include $(wildcard scripts/*.mk)
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
