/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/options.h"

#include <string.h>

#define D RPC_OP_DUMP
#define P RPC_OP_PRE_DUMP
#define R RPC_OP_RESTORE
#define S RPC_OP_PAGE_SERVER
#define C RPC_OP_CHECK
#define U RPC_OP_CPUINFO
#define L RPC_OP_LAZY_PAGES
#define ALL RPC_OPS_ALL

#define HARMLESS(v) (1u << (v))
#define NO_MOUNTS "Mount namespaces are not carried: a tree in one of its own is refused by name."
#define NO_CGROUPS "Cgroups are not carried: what is restored is in the cgroup of who restores it."

const struct rpc_option rpc_options[] = {
	{ 1, "images_dir_fd", NULL, 0, NULL, ALL, RPC_WORKS, 0, "The images directory, a descriptor of the client's. -1: see images_dir." },
	{ 2, "pid", "tree", 't', "PID", D | P, RPC_WORKS, 0, "The root of the tree. Absent: the client itself." },
	{ 3, "leave_running", "leave-running", 'R', NULL, D, RPC_WORKS, 0, "The tree runs on after the dump." },
	{ 4, "ext_unix_sk", "ext-unix-sk", 'x', NULL, D | R, RPC_ACCEPTED, 0,
	  "A permission. A socket whose other end is outside of the tree is refused by name with it too." },
	{ 5, "tcp_established", "tcp-established", 0, NULL, D | R, RPC_ACCEPTED, 0,
	  "A permission. An established TCP connection is refused by name with it too; tcp_close lets it go." },
	{ 6, "evasive_devices", "evasive-devices", 0, NULL, D | R, RPC_ACCEPTED, 0,
	  "A permission. A device file is opened by its own path or is refused by name." },
	{ 7, "shell_job", "shell-job", 'j', NULL, D | P | R, RPC_WORKS, 0, "The root need not lead its session." },
	{ 8, "file_locks", "file-locks", 'l', NULL, D | R, RPC_ACCEPTED, 0, "A permission. A file lock is refused by name with it too." },
	{ 9, "log_level", "verbosity", 'v', "LEVEL", ALL, RPC_WORKS, 0, "0 and 1: errors, 2: warnings too, 3: events too, 4: everything." },
	{ 10, "log_file", "log-file", 'o', "FILE", ALL, RPC_WORKS, 0, "A name in the work directory, without a slash. Made anew, mode 0600." },
	{ 11, "ps", NULL, 0, NULL, D | P | S, RPC_WORKS, 0, "Dumps send their pages there; a page server listens there." },
	{ 12, "notify_scripts", NULL, 0, NULL, D | R | S, RPC_WORKS, 0, "Notifications are sent, and their acknowledgements awaited." },
	{ 13, "root", "root", 'r', "DIR", D | R, RPC_REFUSED, 0, NO_MOUNTS " Restore where the files have the same paths." },
	{ 14, "parent_img", "prev-images-dir", 0, "DIR", D | P | S, RPC_WORKS, 0, "Pages that it has are not written again. Relative to the images directory." },
	{ 15, "track_mem", "track-mem", 0, NULL, D | P, RPC_WORKS, 0, "Writes are tracked from here on. A dump without it does not look at its parent." },
	{ 16, "auto_dedup", "auto-dedup", 0, NULL, D | P | R | S, RPC_WORKS, 0, "Pages that are written again, or restored, are punched out of older images." },
	{ 17, "work_dir_fd", NULL, 0, NULL, ALL, RPC_WORKS, 0, "Log and stats go there; a descriptor of the client's. Absent: the images directory." },
	{ 18, "link_remap", "link-remap", 0, NULL, D, RPC_ACCEPTED, 0, "A permission. A deleted file is refused by name with it too." },
	{ 19, "veths", "veth-pair", 0, "IN=OUT", R, RPC_REFUSED, 0, "Network namespaces are not carried. Restore inside the one that is wanted." },
	{ 20, "cpu_cap", "cpu-cap", 0, "CAP", D | R | U, RPC_WORKS, 0, "What CPUINFO_CHECK compares: FPU 1, CPU 2, INS 4; with 8 a dump writes cpuinfo.img and a restore checks it." },
	{ 21, "force_irmap", "force-irmap", 0, NULL, D | P, RPC_ACCEPTED, 0, "Watched files are found by their paths, or are refused by name." },
	{ 22, "exec_cmd", "exec-cmd", 0, NULL, R, RPC_WORKS, 0, "After the answer the worker becomes this command, the restored root its child." },
	{ 23, "ext_mnt", "ext-mount-map", 'M', "KEY:VALUE", D | R, RPC_REFUSED, 0, NO_MOUNTS " Leave it out." },
	{ 24, "manage_cgroups", NULL, 0, NULL, D | R, RPC_ACCEPTED, 0, NO_CGROUPS },
	{ 25, "cg_root", "cgroup-root", 0, "[CTRL:]PATH", D | R, RPC_REFUSED, 0, NO_CGROUPS " Put who restores into the cgroup that is wanted." },
	{ 26, "rst_sibling", "restore-sibling", 'S', NULL, R, RPC_WORKS, 0, "The root becomes a child of the client. swrk only: a service refuses it even when it is false." },
	{ 27, "inherit_fd", "inherit-fd", 0, "fd[NUM]:RES", R, RPC_WORKS, 0, "Descriptors of the server's own that stand in for files of the images. swrk only." },
	{ 28, "auto_ext_mnt", NULL, 0, NULL, D | R, RPC_ACCEPTED, 0, NO_MOUNTS },
	{ 29, "ext_sharing", "enable-external-sharing", 0, NULL, D | R, RPC_ACCEPTED, 0, NO_MOUNTS },
	{ 30, "ext_masters", "enable-external-masters", 0, NULL, D | R, RPC_ACCEPTED, 0, NO_MOUNTS },
	{ 31, "skip_mnt", "skip-mnt", 0, "PATH", D, RPC_ACCEPTED, 0, NO_MOUNTS },
	{ 32, "enable_fs", "enable-fs", 0, "NAMES", D | R, RPC_ACCEPTED, 0, NO_MOUNTS },
	{ 33, "unix_sk_ino", NULL, 0, NULL, D, RPC_ACCEPTED, 0, "See ext_unix_sk." },
	{ 34, "manage_cgroups_mode", "manage-cgroups", 0, "MODE", D | R, RPC_REFUSED,
	  HARMLESS(CRIU_CG_MODE__IGNORE) | HARMLESS(CRIU_CG_MODE__CG_NONE) | HARMLESS(CRIU_CG_MODE__PROPS) | HARMLESS(CRIU_CG_MODE__SOFT) |
		  HARMLESS(CRIU_CG_MODE__DEFAULT),
	  NO_CGROUPS " IGNORE, CG_NONE, PROPS, SOFT and DEFAULT are accepted, FULL and STRICT refused." },
	{ 35, "ghost_limit", "ghost-limit", 0, "BYTES", D, RPC_ACCEPTED, 0, "A bound. A deleted file is refused by name, whatever its size." },
	{ 36, "irmap_scan_paths", "irmap-scan-path", 0, "PATH", D | P, RPC_ACCEPTED, 0, "See force_irmap." },
	{ 37, "external", "external", 0, "RES", D | R, RPC_REFUSED, 0, "External resources are not supported. Leave it out." },
	{ 38, "empty_ns", "empty-ns", 0, "NS", D | R, RPC_REFUSED, 0, "Network namespaces are not carried. Restore inside an empty one." },
	{ 39, "join_ns", "join-ns", 'J', "NS:PID|FILE", R, RPC_REFUSED, 0, "Namespaces are not carried. Restore inside the one that is wanted." },
	{ 41, "cgroup_props", "cgroup-props", 0, "STRING", D, RPC_REFUSED, 0, NO_CGROUPS " Leave it out." },
	{ 42, "cgroup_props_file", "cgroup-props-file", 0, "FILE", D, RPC_REFUSED, 0, NO_CGROUPS " Leave it out." },
	{ 43, "cgroup_dump_controller", "cgroup-dump-controller", 0, "NAME", D, RPC_REFUSED, 0, NO_CGROUPS " Leave it out." },
	{ 44, "freeze_cgroup", "freeze-cgroup", 0, "DIR", D | P, RPC_WORKS, 0, "The tree is stopped by this cgroup's freezer. A directory that is no cgroup is refused, also where nothing has to be stopped." },
	{ 45, "timeout", "timeout", 0, "SECONDS", D | P, RPC_WORKS, 0, "For stopping the tasks. 0 or absent: 10." },
	{ 46, "tcp_skip_in_flight", "skip-in-flight", 0, NULL, D, RPC_ACCEPTED, 0, "A permission. See tcp_established." },
	{ 47, "weak_sysctls", "weak-sysctls", 0, NULL, R, RPC_ACCEPTED, 0, "No sysctls are restored." },
	{ 48, "lazy_pages", "lazy-pages", 0, NULL, D | R | S, RPC_WORKS, 0,
	  "A dump keeps the pages and serves them to one lazy-pages client at ps, its answer comes afterwards. A page server serves those of its images to "
	  "one. A restore runs before they are there: the lazy-pages daemon, ours or criu's, whose socket is in the work directory brings them." },
	{ 49, "status_fd", NULL, 0, NULL, D, RPC_ACCEPTED, 0, "Obsolete, and only for lazy_pages. Use the status-ready notification." },
	{ 50, "orphan_pts_master", NULL, 0, NULL, R, RPC_ACCEPTED, 0, "Terminals are refused by name, so there is no master to hand out." },
	{ 51, "config_file", "config", 0, "FILE", ALL, RPC_WORKS, 0, "Overrides the fields of the request. One that does not exist is none." },
	{ 52, "tcp_close", "tcp-close", 0, NULL, D | R, RPC_WORKS, 0, "Established TCP connections are let go: the descriptor stays, unconnected." },
	{ 53, "lsm_profile", "lsm-profile", 0, "TYPE:NAME", R, RPC_REFUSED, 0, "Security labels are not restored. Restore under the profile that is wanted." },
	{ 54, "tls_cacert", "tls-cacert", 0, "FILE", D | P | S | L, RPC_WORKS, 0, "See tls. Certificates, in PEM, of the authorities that sign the peers'. Without it: /etc/pki/CA/cacert.pem; never the system's list." },
	{ 55, "tls_cacrl", "tls-cacrl", 0, "FILE", D | P | S | L, RPC_WORKS, 0, "See tls. What those have revoked. Without it: /etc/pki/CA/cacrl.pem if it is there." },
	{ 56, "tls_cert", "tls-cert", 0, "FILE", D | P | S | L, RPC_WORKS, 0, "See tls. The certificate to show. Without it: /etc/pki/criu/cert.pem." },
	{ 57, "tls_key", "tls-key", 0, "FILE", D | P | S | L, RPC_WORKS, 0, "See tls. Its key. Without it: /etc/pki/criu/private/key.pem." },
	{ 58, "tls", "tls", 0, NULL, D | P | S | L, RPC_WORKS, 0,
	  "Pages travel by TLS, both sides showing certificates. Refused with ps.fd." },
	{ 59, "tls_no_cn_verify", "tls-no-cn-verify", 0, NULL, D | P | S | L, RPC_WORKS, 0,
	  "See tls. The certificate need not bear the address: the one connected to, or, where a page server or a dump with lazy_pages listens, the one "
	  "listened at, if one is given." },
	{ 60, "cgroup_yard", "cgroup-yard", 0, "DIR", D | R, RPC_REFUSED, 0, NO_CGROUPS " Leave it out." },
	{ 61, "pre_dump_mode", "pre-dump-mode", 0, "MODE", P, RPC_ACCEPTED, 0, "Pages are read from outside while the tree runs, whichever is asked for." },
	{ 62, "pidfd_store_sk", NULL, 0, NULL, D | P, RPC_ACCEPTED, 0, "A process is told from a later one of its PID by its start time, without help." },
	{ 63, "lsm_mount_context", "lsm-mount-context", 0, "CTX", R, RPC_REFUSED, 0, NO_MOUNTS " Leave it out." },
	{ 64, "network_lock", "network-lock", 0, "METHOD", D, RPC_ACCEPTED, 0, "No connection is carried, so none has to be locked." },
	{ 65, "mntns_compat_mode", "mntns-compat-mode", 0, NULL, ALL, RPC_ACCEPTED, 0, NO_MOUNTS " Refused anywhere but in a restore." },
	{ 66, "skip_file_rwx_check", "skip-file-rwx-check", 0, NULL, R, RPC_WORKS, 0, "The permissions of open files need not be those of the dump." },
	{ 67, "unprivileged", "unprivileged", 0, NULL, ALL, RPC_ACCEPTED, 0, "What the server may do is what it can do; a client acts with its own rights." },
	{ 68, "images_dir", "images-dir", 'D', "DIR", ALL, RPC_WORKS, 0, "A path as the server sees it. Looked at only when images_dir_fd is -1." },
	{ 69, "leave_stopped", "leave-stopped", 's', NULL, D, RPC_WORKS, 0, "The tree stays stopped (SIGSTOP) after the dump. Wins over leave_running." },
	{ 70, "display_stats", "display-stats", 0, NULL, D | R, RPC_WORKS, 0, "The figures of stats-dump and stats-restore are logged too." },
	{ 71, "log_to_stderr", NULL, 0, NULL, ALL, RPC_WORKS, 0, "The log goes to the server's standard error; no log file is made." },
	{ 72, "image_io_mode", "image-io-mode", 0, "MODE", D | R, RPC_ACCEPTED, 0, "A hint. Images are written through the page cache." },
	{ .name = NULL },
};

const char *rpc_op_name(enum rpc_op op)
{
	switch (op) {
	case RPC_OP_DUMP: return "dump";
	case RPC_OP_PRE_DUMP: return "pre-dump";
	case RPC_OP_RESTORE: return "restore";
	case RPC_OP_PAGE_SERVER: return "page server";
	case RPC_OP_CHECK: return "check";
	case RPC_OP_CPUINFO: return "cpuinfo";
	case RPC_OP_LAZY_PAGES:
	case RPC_OPS_ALL: break;
	}
	return "any";
}

const struct rpc_option *rpc_option_by_number(uint32_t number)
{
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		if (o->number == number)
			return o;
	}
	return NULL;
}

const struct rpc_option *rpc_option_by_cli(const char *name, size_t len)
{
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		if (o->cli && strlen(o->cli) == len && memcmp(o->cli, name, len) == 0)
			return o;
	}
	return NULL;
}

const struct rpc_option *rpc_option_by_short(char c)
{
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		if (o->cli_short && o->cli_short == c)
			return o;
	}
	return NULL;
}

const ProtobufCFieldDescriptor *rpc_option_field(const struct rpc_option *o)
{
	return protobuf_c_message_descriptor_get_field(&criu_opts__descriptor, o->number);
}
