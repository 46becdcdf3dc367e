# SPDX-License-Identifier: Apache-2.0
# What the tests of the RPC interface need beside the program: the schema for Python, and clients built on Debian's libcriu, which are plain
# programs with nothing of ours in them.

$(BUILD)/gen/rpc_pb2.py: proto/rpc.proto
	$(call say,PROTO,$@)
	$(Q)mkdir -p $(@D) && protoc --python_out=$(@D) -Iproto rpc.proto
test-programs: $(BUILD)/gen/rpc_pb2.py
$(BUILD)/subjects/libcriu_client: tests/clients/libcriu_client.c
	$(call say,CLIENT,$@)
	$(Q)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -g -fPIE -pie $(filter-out -Wundef -Wstrict-prototypes,$(WARN)) -o $@ $< -lcriu
test-programs: $(BUILD)/subjects/libcriu_client
