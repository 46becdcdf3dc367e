/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/options.h"

#include "migrate/cli/tls_options.h"
#include "migrate/conduct/config.h"
#include "migrate/conduct/report.h"
#include "proto/base/sock.h"
#include "proto/wire/hello.h"

#define FIELD(name) offsetof(struct migrate_config, name)

const struct opt_choice log_level_choices[] = {
	{ "error", LOG_ERROR }, { "warn", LOG_WARN }, { "info", LOG_INFO }, { "debug", LOG_DEBUG }, { NULL, 0 },
};
static const struct opt_choice stall_choices[] = { { "force", STALL_FORCE }, { "abort", STALL_ABORT }, { "postcopy", STALL_POSTCOPY }, { NULL, 0 } };
static const struct opt_choice compress_choices[] = {
	{ "auto", COMPRESS_AUTO }, { "lz4", COMPRESS_LZ4 }, { "none", COMPRESS_NONE }, { NULL, 0 },
};
static const struct opt_choice extract_choices[] = {
	{ "auto", EXTRACT_AUTO }, { "splice", EXTRACT_SPLICE }, { "copy", EXTRACT_COPY }, { NULL, 0 },
};
static const struct opt_choice tracker_choices[] = {
	{ "auto", TRACKER_AUTO }, { "wp-async", TRACKER_WP_ASYNC }, { "soft-dirty", TRACKER_SOFT_DIRTY }, { "none", TRACKER_NONE },
	{ NULL, 0 },
};
static const struct opt_choice engine_choices[] = { { "auto", ENGINE_AUTO }, { "native", ENGINE_NATIVE }, { NULL, 0 } };
static const struct opt_choice pid_choices[] = {
	{ "auto", DRAYAGE__PID_POLICY__PID_AUTO }, { "same", DRAYAGE__PID_POLICY__PID_SAME },
	{ "new", DRAYAGE__PID_POLICY__PID_NEW }, { NULL, 0 },
};
_Static_assert(sizeof(Drayage__PidPolicy) == sizeof(int) && sizeof(enum on_stall) == sizeof(int), "a choice is stored as an int");

static const struct opt positionals[] = {
	{ .name = "PID", .type = OPT_NUMBER, .offset = FIELD(pid), .min = 1, .max = 4194304, .help = "The process to move." },
	{ .name = "HOST[:PORT]", .type = OPT_STRING, .offset = FIELD(destination),
	  .help = "The agent that takes it. An IPv6 address with a port stands in brackets. Without a port: 7077." },
	{ .name = NULL },
};
_Static_assert(DRAY_PORT == 7077 && REPORT_MAX_ROUNDS > 255 && STREAMS_MAX == 16, "numbers that the help texts and bounds repeat");

static const struct opt options[] = {
	{ .name = "downtime-limit", .type = OPT_MS, .offset = FIELD(downtime_limit_ms), .argument = "MS", .min = 1, .max = 3600000,
	  .preset = "300", .help = "How long the process may be unreachable. It is frozen once the predicted blackout is below." },
	{ .name = "max-rounds", .type = OPT_NUMBER, .offset = FIELD(max_rounds), .argument = "N", .min = 1, .max = 255, .preset = "30",
	  .help = "After so many rounds without getting below the limit, do what --on-stall says." },
	{ .name = "timeout", .type = OPT_MS, .offset = FIELD(timeout_ms), .argument = "MS", .max = 30ull * 24 * 3600 * 1000,
	  .preset = "0", .help = "The same after so much time in rounds. 0 means no limit." },
	{ .name = "on-stall", .type = OPT_CHOICE, .offset = FIELD(on_stall), .argument = "HOW", .choices = stall_choices,
	  .preset = "force",
	  .help = "What to do when rounds no longer bring the blackout down: force freezes all the same at a moment when little is "
		  "left, abort leaves the process where it is, postcopy moves it at once and sends what is left afterwards." },
	{ .name = "postcopy", .type = OPT_FLAG, .offset = FIELD(postcopy),
	  .help = "Move the process after the first round, and send the pages that are left when it runs at the destination already: those first "
		  "that it waits for. The blackout does not depend on how much it writes. Until its last page is there it needs both hosts." },
	{ .name = "streams", .type = OPT_NUMBER, .offset = FIELD(streams), .argument = "N", .min = 1, .max = STREAMS_MAX, .preset = "2",
	  .help = "Data connections, each with a thread at both ends." },
	{ .name = "reconnect-timeout", .type = OPT_MS, .offset = FIELD(reconnect_timeout_ms), .argument = "MS", .max = 3600000, .preset = "10000",
	  .help = "A data connection that is cut is made anew, and the round goes on, if that succeeds within so long; in the freeze within "
		  "--downtime-limit if that is less. 0 ends the migration instead." },
	{ .name = "compress", .type = OPT_CHOICE, .offset = FIELD(compress), .argument = "HOW", .choices = compress_choices,
	  .preset = "auto",
	  .help = "With auto, lz4 is used where the link is slow enough for it to pay and the data shrinks." },
	{ .name = "max-bandwidth", .type = OPT_BYTES, .offset = FIELD(max_bandwidth), .argument = "BYTES", .preset = "0",
	  .help = "Bytes per second, over all streams, that rounds may use. 0 means no limit." },
	{ .name = "congestion", .type = OPT_STRING, .offset = FIELD(congestion), .argument = "NAME", .preset = "auto",
	  .help = "TCP congestion control of the data connections. With auto the system's own is kept, except that on a link with a "
		  "round trip below a millisecond one that paces (bbr) is replaced by one that does not." },
	{ .name = "tracker", .type = OPT_CHOICE, .offset = FIELD(tracker), .argument = "HOW", .choices = tracker_choices,
	  .preset = "auto",
	  .help = "How changed pages are found. The choice auto takes wp-async where the kernel has it (6.7 and newer), else "
		  "soft-dirty, else none, which sends all of memory inside the freeze." },
	{ .name = "extract", .type = OPT_CHOICE, .offset = FIELD(extract), .argument = "HOW", .choices = extract_choices,
	  .preset = "auto",
	  .help = "How pages leave the process. The path splice does not copy them but needs a helper inside the process; copy "
		  "reads them from outside, finds zeros, compresses and adds checksums." },
	{ .name = "engine", .type = OPT_CHOICE, .offset = FIELD(engine), .argument = "NAME", .choices = engine_choices, .preset = "auto",
	  .help = "What describes the process and rebuilds it." },
	{ .name = "pid", .type = OPT_CHOICE, .offset = FIELD(pid_policy), .argument = "HOW", .choices = pid_choices, .preset = "auto",
	  .help = "The number at the destination. It is always the same for the process itself; same wants it free at the destination, "
		  "new makes a PID namespace for it, auto does so only when the number is taken." },
	{ .name = "tcp-close", .type = OPT_FLAG, .offset = FIELD(tcp_close),
	  .help = "Let established TCP connections go: the process finds them closed. Without it they are a reason not to move." },
	{ .name = "keep-source", .type = OPT_FLAG, .offset = FIELD(keep_source),
	  .help = "Leave the original behind, stopped, instead of ending it." },
	{ .name = "verify", .type = OPT_FLAG, .offset = FIELD(verify),
	  .help = "Compare a digest of every byte of memory inside the freeze, and say what that cost." },
	{ .name = "dry-run", .short_name = 'n', .type = OPT_FLAG, .offset = FIELD(dry_run),
	  .help = "Say what would move, what would not and why, and the predicted rounds and blackout. Stops nothing." },
	{ .name = "json", .type = OPT_FLAG, .offset = FIELD(json),
	  .help = "One JSON object a line on standard output for each event, the last one with the result." },
	TLS_CLIENT_OPTIONS(struct migrate_config, tls),
	STATE_DIR_OPTION(struct migrate_config, "Where the decision is recorded, for dray recover."),
	LOG_LEVEL_OPTION(struct migrate_config, "warn"),
	{ .name = NULL },
};

static int check(const void *config, struct err *e)
{
	const struct migrate_config *c = config;
	char host[SOCK_HOST_MAX];
	uint16_t port;

	if (sock_parse(c->destination, DRAY_PORT, host, &port, e) != 0)
		return err_wrap(e, "HOST[:PORT]");
	if (port == 0 || !host[0])
		return err_set(e, ERR_USAGE, 0, "HOST[:PORT]: '%.80s' names no host and port to connect to", c->destination);
	if (tls_options_check(&c->tls, e) < 0)
		return -1;
	if (c->verify && (c->postcopy || c->on_stall == STALL_POSTCOPY))
		return err_set(e, ERR_USAGE, 0, "--verify compares memory inside the freeze: with post-copy it is not all there then");
	if (c->extract == EXTRACT_SPLICE && c->compress == COMPRESS_LZ4)
		return err_set(e, ERR_USAGE, 0, "--extract splice never sees the bytes, so --compress lz4 can't be had with it");
	return 0;
}

const struct opt_command migrate_command = {
	.name = "migrate",
	.summary = "Moves a running process to another host.",
	.about = "Memory is sent in rounds while the process works. Then it is frozen for the last pages and its state, rebuilt at the "
		 "destination, and goes on there. Until the commit any failure leaves it running here; a migration that is "
		 "interrupted with Ctrl-C does too.",
	.options = options,
	.positionals = positionals,
	.config_size = sizeof(struct migrate_config),
	.check = check,
};
