#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The installed systemd units work with all that they take away: a systemd of the test's own, in namespaces, starts them. The page server has no
# capability and no root, and publishes durably, dedups, answers metrics, is started by its socket, reloads, and has root's keys for TLS by what the documentation says; the
# agent takes a process in that outlives its restart; the RPC service answers, by itself and at the manager's socket.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
DRAY=${BUILD:-$root/build}/dray
skip() { echo "$*"; exit 77; }
fail() { echo "FAILED: $*" >&2; tail -n 30 "$T"/io/{console,log,out} >&2; exit 1; }
[ "$(id -u)" = 0 ] || skip "needs root"
[ -z "${SAN:-}" ] || skip "a sanitizer wants what the units take away"
[ -x /lib/systemd/systemd ] || skip "no systemd"
cgroups=()
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
	cgroups=(/sys/fs/cgroup)
elif [ -d /sys/fs/cgroup/unified ] && [ -d /sys/fs/cgroup/systemd ]; then
	cgroups=(/sys/fs/cgroup/unified /sys/fs/cgroup/systemd)
	for c in cpu cpuacct memory devices blkio pids; do # where it would make a system.slice of the host's
		[ "$(stat -fc %T "/sys/fs/cgroup/$c" 2> /dev/null)" != cgroupfs ] || cgroups+=("/sys/fs/cgroup/$c")
	done
else
	skip "no control groups that a systemd can have"
fi
T=$(mktemp -d "${TMPDIR:-/tmp}/dray-test.XXXXXX") || exit 1
box=""
name=dray-units-$$
end_box() {
	local end=$((SECONDS + 60)) c
	[ -z "$box" ] || { kill -KILL "$box"; wait "$box"; } 2> /dev/null
	for c in "${cgroups[@]}"; do
		until [ ! -d "$c/$name" ] || { find "$c/$name" -depth -type d -exec rmdir {} + ; } 2> /dev/null; do
			[ "$SECONDS" -lt "$end" ] || break
			sleep 0.05
		done
	done
	rm -rf "$T"
}
trap end_box EXIT
trap 'exit 143' TERM INT
mkdir "$T/io" "$T/box" "$T/units"
for unit in dray-page-server.service dray-page-server.socket dray-agent.service dray-service.service dray-service.socket; do
	sed 's,@PREFIX@,/usr/local,g' "$root/scripts/$unit.in" > "$T/units/$unit"
	mkdir "$T/units/$unit.d" # nothing of the host's own is to be started along, and nobody keeps a journal
	printf '[Unit]\nDefaultDependencies=no\nRefuseManualStop=no\n' > "$T/units/$unit.d/test.conf"
	case $unit in *.service) printf '[Service]\nStandardOutput=append:/io/log\nStandardError=append:/io/log\n' >> "$T/units/$unit.d/test.conf" ;; esac
done
printf '[Unit]\nDefaultDependencies=no\nWants=go.service\n' > "$T/units/go.target"
printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/bash /io/go\nStandardOutput=append:/io/out\nStandardError=append:/io/out\n' \
	> "$T/units/go.service"

# The drop-in as it is documented.
sed -n '/^LoadCredential=/,/^```/p' "$root/docs/operations.md" | sed '1i [Service]
/^```/d' > "$T/io/keys.conf"
grep -q '^LoadCredential=.*key' "$T/io/keys.conf" || fail "docs/operations.md has no drop-in with keys"

cat > "$T/boot" << 'END' # in new namespaces: T, ROOT, DRAY
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs "$T/box"
mkdir "$T/box/up" "$T/box/work" "$T/box/root"
mount -t overlay -o "lowerdir=/,upperdir=$T/box/up,workdir=$T/box/work" overlay "$T/box/root"
R=$T/box/root
[ -x "$R/lib/systemd/systemd" ] && [ -x "$R/usr/bin/python3" ] # else /usr is a mount of its own
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
	mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
else
	mount -t tmpfs tmpfs "$R/sys/fs/cgroup"
	mkdir "$R/sys/fs/cgroup/unified" "$R/sys/fs/cgroup/systemd"
	mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup/unified"
	mount -t cgroup -o none,name=systemd cgroup "$R/sys/fs/cgroup/systemd"
fi
mount -t tmpfs tmpfs "$R/dev"
for d in null zero full random urandom tty; do touch "$R/dev/$d"; mount --bind "/dev/$d" "$R/dev/$d"; done
mkdir "$R/dev/shm" "$R/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"
for d in run tmp var/lib; do mkdir -p "$R/$d"; mount -t tmpfs -o mode=755 tmpfs "$R/$d"; done
chmod 1777 "$R/tmp"
mkdir -p "$R/io" "$R/tree" "$R/usr/local/bin"
mount --bind "$T/io" "$R/io"
mount --bind "$ROOT" "$R/tree"
cp "$DRAY" "$R/usr/local/bin/dray"
rm -rf "$R"/etc/systemd/system/* "$R/etc/fstab"
cp -r "$T"/units/* "$R/etc/systemd/system/"
mount --make-rshared "$R" # as on a host: credentials are mounted by a helper, in a namespace of its own
ip link set lo up
echo > "$T/io/booted"
exec chroot "$R" /usr/bin/env -i container=lxc PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=go.target \
	--log-target=console
END

cat > "$T/io/go" << 'END' # in the box
trap 'echo "$?" > /io/rc.new; mv /io/rc.new /io/rc' EXIT
set -eu
said() { echo "$*"; systemctl status --no-pager --full "dray-*"; exit 1; }
cat > /tmp/sender.py << 'PY'
import sys
sys.path.insert(0, "/tree/tests/lib")
sys.dont_write_bytecode = True
from ps_sender import *
for n in range(2):
    s = Sender(7078)
    assert s.open(1) == 0
    s.pages(0x1000, page(n + 1) * 600)
    assert s.close() == 0
s = Sender(7078)
s.open(1)
s.hole(0x1000, 1)
assert s.dropped()
PY
sender() { /usr/bin/python3 /tmp/sender.py; }
systemctl start dray-page-server.service || said "the page server did not start"
status=/proc/$(systemctl show -P MainPID dray-page-server.service)/status
grep -Eq '^CapEff:\s0+$' "$status" && grep -Eq '^NoNewPrivs:\s1$' "$status" && grep -Eq '^Seccomp:\s2$' "$status" || said "it may more than it should"
! grep -Eq '^Uid:\s0' "$status" || said "it is root"
sender
dray status
PYTHONPATH=/tree/tests/lib PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 << 'PY'
import time
from prometheus import metrics
end = time.monotonic() + 60
while metrics("unix:/run/drayage-page-server/metrics.sock")['dray_page_server_sessions_ended_total{outcome="success"}'] != 2:
    assert time.monotonic() < end
    time.sleep(0.02)
PY
[ "$(stat -c %U /var/lib/drayage-images/1/pages-65537.img)" != root ] || said "a set is root's"
systemctl stop dray-page-server.service
[ "$(systemctl show -P Result dray-page-server.service)" = success ] || said "it did not end well: $(systemctl show -P Result dray-page-server.service)"
[ ! -e /run/drayage-page-server ] || said "its runtime directory is still there"

mkdir -p /etc/drayage /run/systemd/system/dray-page-server.service.d
/tree/tests/lib/make-certs /etc/drayage
chmod 700 /etc/drayage
cp /io/keys.conf /run/systemd/system/dray-page-server.service.d/zz.conf
systemctl daemon-reload
systemctl start dray-page-server.service || said "the page server did not start with keys"
cat > /tmp/tls.py << 'PY'
import ssl
import sys
sys.path.insert(0, "/tree/tests/lib")
sys.dont_write_bytecode = True
from ps_sender import *
s = Sender(7078)
c = ssl.create_default_context(cafile="/etc/drayage/ca.pem")
c.load_cert_chain("/etc/drayage/host-a.pem", "/etc/drayage/host-a.key")
s.s = c.wrap_socket(s.s, server_hostname="127.0.0.1")
assert s.open(9) == 0
s.pages(0x1000, page(9))
assert s.close() == 0
PY
/usr/bin/python3 /tmp/tls.py || said "nothing was taken by TLS"
main=$(systemctl show -P MainPID dray-page-server.service)
systemctl reload dray-page-server.service || said "it does not reload"
until grep -q ' reloaded ' /io/log; do [ "$(systemctl is-active dray-page-server.service)" != failed ] && sleep 0.02 || said "it ended"; done
until [ "$(systemctl is-active dray-page-server.service)" = active ]; do sleep 0.02; done
[ "$(systemctl show -P MainPID dray-page-server.service)" = "$main" ] || said "it is another process"
/usr/bin/python3 /tmp/tls.py || said "nothing was taken by TLS behind the reload"
[ "$(grep -c 'session-published .*name="host-a"' /io/log)" = 2 ] || said "it was not host-a"
systemctl stop dray-page-server.service

printf '[Service]\nExecStart=\nExecStart=/usr/local/bin/dray page-server -D /var/lib/drayage-images/%%%%t-%%%%n --durable\n' > /run/more.conf
mv /run/more.conf /run/systemd/system/dray-page-server.service.d/zz.conf
systemctl daemon-reload
systemctl start dray-page-server.socket
sender # starts it
[ "$(systemctl is-active dray-page-server.service)" = active ] || said "the socket did not start the page server"
[ "$(find /var/lib/drayage-images/ -name 'pagemap-1.img' | wc -l)" = 4 ] || said "not four sets: $(find /var/lib/drayage-images/)"

systemctl start dray-agent.service || said "the agent did not start"
/usr/bin/setsid /usr/bin/python3 -c 'import time
open("/tmp/ready", "w").close()
while True: time.sleep(0.01)' < /dev/null > /dev/null 2>&1 &
subject=$!
until [ -e /tmp/ready ]; do sleep 0.02; done
dray migrate "$subject" 127.0.0.1 --pid new || said "it did not move"
systemctl restart dray-agent.service || said "the agent did not start again"
moved=
for p in /proc/[0-9]*; do
	tr '\0' ' ' < "$p/cmdline" 2> /dev/null | grep -q '^/usr/bin/python3 -c import time' && moved=$p
done
cat > /tmp/rpc.py << 'PY'
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(60)
s.connect("/run/drayage/rpc.sock")
s.send(b"\x08\x0a") # VERSION
assert s.recv(1024)[:4] == b"\x08\x0a\x10\x01"
PY
systemctl start dray-service.service && /usr/bin/python3 /tmp/rpc.py && systemctl stop dray-service.service || said "the RPC service did not answer"
systemctl start dray-service.socket && /usr/bin/python3 /tmp/rpc.py || said "the RPC service did not answer at the manager's socket"
[ "$(systemctl is-active dray-service.service)" = active ] && [ "$(stat -c %a /run/drayage/rpc.sock)" = 600 ] || said "the RPC service is not the socket's"
[ -n "$moved" ] && grep -q 'dray-agent.service' "$moved/cgroup" || said "what had moved in did not outlive the agent's restart"
END

( for c in "${cgroups[@]}"; do
	mkdir "$c/$name" && echo "$BASHPID" > "$c/$name/cgroup.procs" || exit 1
done ) 2> /dev/null || skip "can't have a control group here"
( for c in "${cgroups[@]}"; do echo "$BASHPID" > "$c/$name/cgroup.procs"; done
export T ROOT="$root" DRAY
exec unshare --mount --pid --fork --net --uts --ipc --cgroup --kill-child /bin/bash "$T/boot" ) > "$T/io/console" 2>&1 < /dev/null &
box=$!
end=$((SECONDS + 240))
until [ -e "$T/io/rc" ]; do
	kill -0 "$box" 2> /dev/null || { [ -e "$T/io/booted" ] && fail "systemd ended"; skip "no box for a systemd: $(tail -n 1 "$T/io/console")"; }
	[ "$SECONDS" -lt "$end" ] || fail "no end"
	sleep 0.05
done
[ "$(cat "$T/io/rc")" = 0 ] || fail "in the box"
