# SPDX-License-Identifier: Apache-2.0
# zoo.sh - a process with some of each kind (tests/programs/zoo.c), as a subject. Sourced behind what has await, fail and $T: images.sh, which does it
# itself; or faults.sh, where it is moved.

# zoo_start KIND...: and it is ready.
zoo_start() {
	mkdir -p -m 777 "$T/zoo"
	rm -f "$T/zoo/ready"
	start a subject "$BUILD/subjects/zoo" "$T/zoo" "$@"
	await 60 test -e "$T/zoo/ready"
}

# zoo_right [WHEN]: it finds all that it has as it should be.
zoo_right() {
	rm -f "$T/zoo/verdict"
	touch "$T/zoo/request"
	await 60 test -e "$T/zoo/verdict"
	[ "$(cat "$T/zoo/verdict")" = ok ] || fail "${1:+$1: }$(cat "$T/zoo/verdict")"
}

# zoo_goes_on NAME: the migration that stands still goes on and moves it; it is right there.
zoo_let_go() { local p; for p in $(stopped_on a); do kill -CONT "$p"; done; gone "${pid[migrate]}"; }
zoo_goes_on() {
	await 20 zoo_let_go
	finish migrate || fail "$1: $(tail -n 3 "$T/migrate.err")"
	[ "$(field outcome)" = moved ] || fail "$1: $(field outcome)"
	await 20 subject_absent a
	await 20 subject_present b
	zoo_right "$1, moved"
}
