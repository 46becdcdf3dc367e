#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A host that is not there, a port where nobody listens, a name that is none: said by name, the source runs on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/hosts.sh"; . "$here/../lib/subject.sh"; . "$here/../lib/faults.sh"
faults_begin without-agent
for to in "${host_addr[b]}:$PORT" 10.77.0.9:7471 no-such-host.invalid:7471; do
	subject_start
	rc=0; TO=$to migrate --timeout 3 || rc=$?
	case "$rc" in 2 | 6 | 8) ;; *) fail "$to: exit $rc" ;; esac
	said "${to%:*}"
	runs_only_on a
	nothing_left a subject
	subject_stop
	report "$to: exit $rc"
done
