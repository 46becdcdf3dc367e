#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# memcached moves under load: no key and no acknowledged write is lost, its client reconnects to the new host.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
hosts_need memcached
. "$here/../lib/kv.sh"
kv_begin
start a server memcached -u root -l 0.0.0.0 -p 11211 -U 0 -m 256 -t 4
kv_moves memcached 11211 --keys 20000 --size 2048
