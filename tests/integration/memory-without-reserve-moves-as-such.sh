#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mappings with MAP_NORESERVE are such after a move too, anonymous, of files and shared, written and only reserved, and those beside them are not: by pre-copy and by
# post-copy, also one that was made after the migration began.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"; . "$here/../lib/zoo.sh"
RECORDS=1
faults_begin

for how in "" --postcopy; do
	name=${how:-pre-copy}
	zoo_start unreserved unreserved-later
	stopped_at source.armed ${how:+"$how"}
	zoo_right "$name, meanwhile"
	zoo_goes_on "$name"
	subject_stop
	report "$name: without reserve"
done
