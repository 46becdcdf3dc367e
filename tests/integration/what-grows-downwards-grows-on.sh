#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A mapping that grows downwards (MAP_GROWSDOWN) beside the stack grows on after the move, by pre-copy and by post-copy: one that grew while it was being moved,
# and one that was made meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"; . "$here/../lib/zoo.sh"
RECORDS=1
faults_begin

for how in "" --postcopy; do
	name=${how:-pre-copy}
	zoo_start memory growing growing-later
	stopped_at source.round ${how:+"$how"}
	zoo_right "$name, meanwhile"
	zoo_goes_on "$name"
	zoo_right "$name, once more"
	subject_stop
	report "$name: it grows on"
done
