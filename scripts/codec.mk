# SPDX-License-Identifier: Apache-2.0
# What decodes a peer's bytes is held to implicit conversions too.

$(BUILD)/proto/wire/%.o $(BUILD)/proto/image/%.o: ALL_CFLAGS += -Wconversion
