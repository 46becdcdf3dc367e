/* SPDX-License-Identifier: Apache-2.0 */
/* What an option is called, by those who fill in fields and by those who type. */
#include <stdio.h>
#include <string.h>

#include "migrate/rpc/options.h"

/* Where the command line has other words than the RPC. */
static const struct { const char *field, *text; } own_texts[] = {
	{ "images_dir", "Where the images are, or are to be. Default: the directory that the command is run in." },
	{ "pid", "The root of the tree." },
	{ "log_file", "A file that gets the log and what action scripts print. Relative to the work directory. Without it: standard error." },
	{ "log_level", "-v0 and -v1: errors, -v2 (the default): warnings too, -v3: events too, -v4: everything. Each v counts one." },
	{ "cpu_cap", "What cpuinfo check compares, words with commas between them: fpu, cpu, ins, all, none; one behind a ^ is left out. Without it fpu and "
		     "ins. With it a dump writes cpuinfo.img and a restore looks at it." },
	{ "config_file", "A configuration file, in the place of the default ones." },
	{ "rst_sibling", "The root becomes a child of whoever ran the command. Wants --restore-detached." },
	{ "inherit_fd", "A descriptor of the command's own that stands in for a file of the images. Any number of them." },
	{ "tcp_established", "A permission. An established TCP connection is refused by name with it too; --tcp-close lets it go." },
	{ "tcp_skip_in_flight", "A permission. See --tcp-established." },
	{ "irmap_scan_paths", "See --force-irmap." },
	{ "leave_stopped", "The tree stays stopped (SIGSTOP) after the dump. Wins over --leave-running." },
	{ "lazy_pages", "A dump keeps the pages and serves them to one lazy-pages client, which comes to --address and --port, before it ends. A page server serves "
			"those of its images to one. A restore runs before they are there: the lazy-pages daemon, ours or criu's, whose socket is in the work "
			"directory brings them." },
	{ "tls", "Pages travel by TLS, both sides showing certificates. Refused with --ps-socket." },
	{ "tls_cacert", "With --tls: certificates, in PEM, of the authorities that sign the peers'. Without it: /etc/pki/CA/cacert.pem; never the system's list." },
	{ "tls_cacrl", "With --tls: what those have revoked. Without it: /etc/pki/CA/cacrl.pem if it is there." },
	{ "tls_cert", "With --tls: the certificate to show. Without it: /etc/pki/criu/cert.pem." },
	{ "tls_key", "With --tls: its key. Without it: /etc/pki/criu/private/key.pem." },
	{ "tls_no_cn_verify", "With --tls: the certificate need not bear the address: the one connected to, or, where a page server or a dump with --lazy-pages "
			      "listens, the one listened at, if one is given." },
	{ "manage_cgroups_mode", "Refused with full and strict; with ignore, none, props, soft or no mode accepted without effect. Cgroups are not carried: what is "
				 "restored is in the cgroup of who restores it." },
	{ "mntns_compat_mode", "Refused in a dump; elsewhere accepted without effect. Mount namespaces are not carried: a tree in one of its own is refused "
			       "by name." },
	{ "exec_cmd", "Once the tree is restored the command becomes the one that stands behind --, the restored root its child." },
};

const char *rpc_option_text(const struct rpc_option *o, enum rpc_words w)
{
	for (size_t i = 0; w == RPC_WORDS_CLI && i < sizeof(own_texts) / sizeof(own_texts[0]); i++) {
		if (strcmp(own_texts[i].field, o->name) == 0)
			return own_texts[i].text;
	}
	return o->text;
}

const char *rpc_option_shown(const struct rpc_option *o, enum rpc_words w, char shown[RPC_SHOWN_MAX])
{
	if (w == RPC_WORDS_CLI && o->cli)
		snprintf(shown, RPC_SHOWN_MAX, "--%s", o->cli);
	else
		snprintf(shown, RPC_SHOWN_MAX, "option %s", o->name);
	return shown;
}
