/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - criu's command line and its configuration files, read into what a request of the RPC carries plus what only a command has.
 *
 *   criu [OPTION]... VERB [WORD] [OPTION]... [-- COMMAND...]
 *
 * Options come from two tables: migrate/rpc/options.h, whose rows have fields in criu_opts, and criu_own_options below. Any option may
 * stand with any verb, before it or behind it; one that the verb does not look at has no effect. Long ones may be cut short while that is
 * unambiguous; flags have a --no- form. Later ones win, lists grow. Configuration files come first, in this order: /etc/criu/default.conf and
 * $HOME/.criu/default.conf (neither with --config or --no-default-config), $CRIU_CONFIG_FILE, the one that --config names.
 * Threads: any. Ownership: the command owns all that it holds. Fails: ERR_USAGE that names the option (and file and line). */
#ifndef DRAY_MIGRATE_CRIU_COMMAND_H
#define DRAY_MIGRATE_CRIU_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/rpc/options.h"
#include "proto/base/err.h"

/* What a verb is, beyond enum rpc_op. */
enum criu_op {
	CRIU_OP_SERVICE = 1 << 8,
	CRIU_OP_SWRK = 1 << 9,
	CRIU_OP_DEDUP = 1 << 10,
	CRIU_OP_LAZY_PAGES = RPC_OP_LAZY_PAGES,
	CRIU_OPS_ALL = RPC_OPS_ALL | ((1 << 12) - (1 << 8)),
};

struct criu_list { char **v; size_t n; };

struct criu_command {
	struct criu_list words; /* the verb and what stands behind it */
	CriuOpts *opts;         /* images_dir_fd and work_dir_fd unset; exec_cmd holds what stands behind -- */
	bool help, version;
	const char *typed_where; /* the first option of the command line, not of files, that says where a page server is or how it is spoken to; NULL */
	/* of criu_own_options */
	char *work_dir, *pidfile, *address, *feature, *engine, *criu, *ps_protocol;
	int port, ps_socket, status_fd, ps_layout, streams; /* -1: not given */
	bool detach, page_server, check_all, no_default_config;
	struct criu_list scripts, close_fds, ignored;
	bool stream;
};

enum criu_value { CRIU_FLAG, CRIU_NUMBER, CRIU_STRING, CRIU_LIST };

struct criu_own_option {
	const char *name;     /* long, without dashes */
	char short_name;      /* 0: none */
	const char *argument; /* NULL: a flag */
	unsigned ops;         /* that look at it: enum rpc_op and enum criu_op */
	enum criu_value value;
	size_t offset;        /* in struct criu_command */
	enum rpc_standing standing;
	const char *text;     /* plain sentences */
};
extern const struct criu_own_option criu_own_options[]; /* ends with a NULL name */

int criu_command_init(struct criu_command *c, struct err *e);
void criu_command_finish(struct criu_command *c); /* accepts a zeroed one */

/* Configuration files, then argv[1..argc). */
int criu_command_parse(struct criu_command *c, int argc, char **argv, struct err *e);
/* The parts. */
int criu_command_read_file(struct criu_command *c, const char *path, struct err *e); /* 1: read; 0: there is no such file; -1 */
/* One option: name as typed, len bytes of it. value: NULL where none stands behind it. */
int criu_command_set(struct criu_command *c, const char *name, size_t len, const char *value, struct err *e);

#endif
