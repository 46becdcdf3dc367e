# SPDX-License-Identifier: Apache-2.0
# What a fresh Debian 12 machine lacks. As root it is installed; else the line to run is printed.

DEPS_BUILD := gcc make pkg-config libc6-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler liburing-dev liblz4-dev libxxhash-dev libssl-dev
DEPS_TEST  := libcmocka-dev iproute2 redis-server redis-tools memcached python3 python3-protobuf \
              openssl qemu-system-x86 linux-image-amd64 busybox-static cpio kmod criu

deps: ## install what building and testing need (root)
	$(Q)scripts/deps $(DEPS_BUILD) $(DEPS_TEST)
deps-quiet:
	$(Q)scripts/deps --quiet $(DEPS_BUILD) $(DEPS_TEST)
.PHONY: deps deps-quiet
