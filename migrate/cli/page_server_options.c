/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"

#include <string.h>

#include "migrate/cli/tls_options.h"
#include "pageserver/stock/page_server.h"
#include "pageserver/stock/session_dir.h"
#include "proto/base/exporter.h"

#define FIELD(name) offsetof(struct page_server_options, name)

static const struct opt none[] = { { .name = NULL } };

static const struct opt options[] = {
	{ .name = "images-dir", .short_name = 'D', .type = OPT_STRING, .offset = FIELD(images_dir), .argument = "TEMPLATE", .preset = ".",
	  .help = "Where sets of images go, a directory for each session: %n is replaced by the session's number (the first that is free, from 1), "
		  "%p by the sender's address, %t by the time it came (UTC), %% by a percent sign. Without any of them, sessions go into "
		  "numbered directories in it; with --once, into the directory itself." },
	{ .name = "port", .type = OPT_NUMBER, .offset = FIELD(port), .argument = "PORT", .max = 65535, .preset = "0",
	  .help = "Where to listen. 0 lets the kernel choose; the line printed when ready says which." },
	{ .name = "address", .type = OPT_STRING, .offset = FIELD(address), .argument = "ADDRESS", .preset = "127.0.0.1",
	  .help = "Where to listen: an address of this host, or a name of it." },
	{ .name = "insecure", .type = OPT_FLAG, .offset = FIELD(insecure),
	  .help = "Without TLS, allow an address that other hosts can reach, though anyone who reaches it can write images here." },
	TLS_FILE_OPTIONS(struct page_server_options, tls),
	TLS_ALLOW_OPTION(struct page_server_options, tls,
			 "Names of which a sender's certificate must bear one: DNS names, addresses, or common names where there are no DNS names. "
			 "Without it every certificate of the authority is let in."),
	{ .name = "lazy-pages", .type = OPT_FLAG, .offset = FIELD(lazy_pages),
	  .help = "Receive nothing: serve the pages of the images in --images-dir, and of the sets before them, to lazy-pages clients. --session-bytes, "
		  "--chain and what else is about sets that come have no part in it." },
	{ .name = "once", .type = OPT_FLAG, .offset = FIELD(once),
	  .help = "Serve one session and end with its outcome, as criu page-server does." },
	{ .name = "prev-images-dir", .type = OPT_STRING, .offset = FIELD(prev_images_dir), .argument = "DIR",
	  .help = "The set before, in which pages that a sender leaves out are looked for; relative to the session's directory. A link named "
		  "parent is made to it." },
	{ .name = "chain", .type = OPT_FLAG, .offset = FIELD(chain),
	  .help = "The set before is the last that was published for the same sender's address. Only where one tree of processes at a time comes "
		  "from an address: rounds of several would be taken for each other's." },
	{ .name = "auto-dedup", .type = OPT_FLAG, .offset = FIELD(auto_dedup),
	  .help = "Free the room of pages in the sets before that are sent again. With --prev-images-dir one session alone may do that, --once: the "
		  "next could not tell that pages it leaves out are not there any more." },
	{ .name = "flat", .type = OPT_FLAG, .offset = FIELD(flat),
	  .help = "Publish sets that have all their pages, also those of the sets before, and need these no more. The sender waits meanwhile, some "
		  "half a second for each GiB, with its tasks stopped in the last round." },
	{ .name = "durable", .type = OPT_FLAG, .offset = FIELD(durable),
	  .help = "Have everything on the disk before a sender is told that its session succeeded." },
	{ .name = "max-sessions", .type = OPT_NUMBER, .offset = FIELD(max_sessions), .argument = "N", .preset = "0",
	  .help = "Refuse senders while so many are served. One that was told of its set and whose last word is still awaited does not count. 0 means any number." },
	{ .name = "max-handshakes", .type = OPT_NUMBER, .offset = FIELD(max_handshakes), .argument = "N", .preset = "256",
	  .help = "While so many have connected and said nothing yet, drop the oldest of them for each that connects. 0 means any number." },
	{ .name = "handshake-timeout", .type = OPT_MS, .offset = FIELD(handshake_timeout_ms), .argument = "MS", .preset = "2m",
	  .help = "Drop whoever connected, or got through TLS, and for so long did not say what it wants; with --lazy-pages nobody has to. 0 leaves "
		  "it to --idle-timeout." },
	{ .name = "resume-timeout", .type = OPT_MS, .offset = FIELD(resume_timeout_ms), .argument = "MS", .min = 1, .preset = "30s",
	  .help = "How long a native session waits for its sender when a connection was cut, before it is given up." },
	{ .name = "session-bytes", .type = OPT_BYTES, .offset = FIELD(session_bytes), .argument = "BYTES", .preset = "0",
	  .help = "End a session that sends more page contents than this. 0 means no limit." },
	{ .name = "session-pages", .type = OPT_NUMBER, .offset = FIELD(session_pages), .argument = "N", .preset = "0",
	  .help = "End a session that speaks of more pages than this: with contents, left to the set before, or lazy, and one for each page map. 0 means "
		  "no limit." },
	{ .name = "keep-free", .type = OPT_BYTES, .offset = FIELD(keep_free), .argument = "BYTES", .preset = "0",
	  .help = "End a session that would leave less than this free in the file system that its set goes to. 0 lets it be filled." },
	{ .name = "session-time", .type = OPT_MS, .offset = FIELD(session_time_ms), .argument = "MS", .preset = "0",
	  .help = "End a session that takes longer than this; with --once the wait for it counts. 0 means no limit." },
	{ .name = "idle-timeout", .type = OPT_MS, .offset = FIELD(idle_timeout_ms), .argument = "MS", .preset = "5m",
	  .help = "End a session from which nothing came for so long. 0 means no limit." },
	{ .name = "drain-timeout", .type = OPT_MS, .offset = FIELD(drain_timeout_ms), .argument = "MS", .max = 3600000, .preset = "30s",
	  .help = "How long SIGTERM waits for sessions under way before it ends them. 0 waits as long as they take." },
	{ .name = "check", .type = OPT_FLAG, .offset = FIELD(check),
	  .help = "Say whether the images directory and the credentials are there and good, by the exit status, and end without serving." },
	{ .name = "daemon", .short_name = 'd', .type = OPT_FLAG, .offset = FIELD(daemonize),
	  .help = "Go on in the background when ready to serve. The log is kept where standard error is a file." },
	{ .name = "pidfile", .type = OPT_STRING, .offset = FIELD(pidfile), .argument = "FILE",
	  .help = "Write the process id there. It must not exist, and is removed at the end." },
	{ .name = "status-fd", .type = OPT_NUMBER, .offset = FIELD(status_fd), .argument = "FD", .min = 3, .max = 1 << 20,
	  .help = "Write a zero byte to this descriptor and close it when ready to serve." },
	METRICS_OPTION(struct page_server_options),
	LOG_LEVEL_OPTION(struct page_server_options, "info"),
	{ .name = NULL },
};

static int check(const void *config, struct err *e)
{
	const struct page_server_options *o = config;

	if (o->lazy_pages && (o->chain || o->prev_images_dir || o->auto_dedup || o->flat || o->durable || o->session_bytes || o->session_pages ||
			      o->keep_free))
		return err_set(e, ERR_USAGE, 0, "--lazy-pages receives nothing: leave out --chain, --prev-images-dir, --auto-dedup, --flat, --durable, "
			       "--session-bytes, --session-pages and --keep-free");
	if (o->chain && o->prev_images_dir)
		return err_set(e, ERR_USAGE, 0, "--chain and --prev-images-dir exclude each other");
	if (o->flat && o->auto_dedup)
		return err_set(e, ERR_USAGE, 0, "--flat and --auto-dedup exclude each other: a flat set has its own copy of every page");
	if (o->auto_dedup && o->prev_images_dir && !o->once)
		return err_set(e, ERR_USAGE, 0, "--auto-dedup would take from --prev-images-dir what other sessions may leave to it: serve one session (--once), "
			       "or name no set and let each round follow the one before (--chain)");
	if (o->chain && o->once)
		return err_set(e, ERR_USAGE, 0, "--chain and --once exclude each other: name the set before by --prev-images-dir");
	if (tls_options_check(&o->tls, e) < 0)
		return -1;
	if (o->metrics && exporter_check(o->metrics, e) < 0)
		return err_wrap(e, "--metrics");
	if (o->lazy_pages)
		return 0;
	return strchr(o->images_dir, '%') && session_template_check(o->images_dir, e) < 0 ? err_wrap(e, "--images-dir") : 0;
}

const struct opt_command page_server_command = {
	.name = "page-server",
	.summary = "Receives memory from criu dump --page-server, or serves it.",
	.about = "Speaks the page-server protocol of all criu releases. Runs until SIGTERM, any number of sessions at once. Says that it is ready on "
		 "standard output, and to a service manager that set NOTIFY_SOCKET.",
	.options = options,
	.positionals = none,
	.config_size = sizeof(struct page_server_options),
	.check = check,
};
