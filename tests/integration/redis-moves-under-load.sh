#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# redis-server moves under load: no key and no acknowledged write is lost, its client reconnects to the new host.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
hosts_need redis-server
. "$here/../lib/kv.sh"
kv_begin
start a server redis-server --bind 0.0.0.0 --protected-mode no --port 6379 --save '' --appendonly no --dir "$T"
kv_moves redis 6379 --keys 20000 --size 2048
