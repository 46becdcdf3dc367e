/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - every field of criu_opts, one row each: what it is called, which operations look at it, and what it does here. The checks, the
 * table in docs/rpc.md, criu's command line and its configuration files are made from these rows.
 *
 * A field that an operation does not look at has no effect on it, as ever. One that it does look at works, or is accepted for a stated
 * reason, or is refused by name when it asks for something: not one is dropped in silence.
 * Pure: no I/O, no globals but the table. Threads: any. Fails: err of kind ERR_USAGE (RPC: EBADRQC), the option named. */
#ifndef DRAY_MIGRATE_RPC_OPTIONS_H
#define DRAY_MIGRATE_RPC_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/base/err.h"
#include "rpc.pb-c.h"

/* What a set of options is for. */
enum rpc_op {
	RPC_OP_DUMP = 1 << 0,
	RPC_OP_PRE_DUMP = 1 << 1,
	RPC_OP_RESTORE = 1 << 2,
	RPC_OP_PAGE_SERVER = 1 << 3,
	RPC_OP_CHECK = 1 << 4,
	RPC_OP_CPUINFO = 1 << 5,
	RPC_OPS_ALL = (1 << 6) - 1,
	RPC_OP_LAZY_PAGES = 1 << 11, /* a verb of the command line, no request */
};

enum rpc_standing {
	RPC_WORKS,
	RPC_ACCEPTED, /* without effect; the row's text says why that is right */
	RPC_REFUSED,  /* by name; the row's text says why and what to do instead */
};

#define RPC_REFUSING(ops) ((unsigned)(ops) << 16)

struct rpc_option {
	uint32_t number;      /* of the field */
	const char *name;     /* of the field */
	const char *cli;      /* criu's command line option without dashes; NULL: has none */
	char cli_short;       /* 0: none */
	const char *argument; /* what the command line calls its value; NULL: a flag (or no option) */
	unsigned ops;         /* enum rpc_op, those that look at it; RPC_REFUSING of those that refuse what the others do */
	enum rpc_standing native; /* with the native engine */
	uint32_t harmless;    /* of a refused enum or number: bit n set means that value n is accepted without effect */
	const char *text;     /* what it does, or why it is not done; plain sentences */
};

/* All rows in the order of their numbers; ends with a NULL name. */
extern const struct rpc_option rpc_options[];

const struct rpc_option *rpc_option_by_number(uint32_t number); /* NULL: no such field */
const struct rpc_option *rpc_option_by_cli(const char *name, size_t len); /* a long option's name without dashes */
const struct rpc_option *rpc_option_by_short(char c);
/* The row's field as protobuf-c describes it: type, label, offsets into CriuOpts. */
const ProtobufCFieldDescriptor *rpc_option_field(const struct rpc_option *o);

/* The operations that refuse it when it asks for something. */
static inline unsigned rpc_option_refused_for(const struct rpc_option *o)
{
	return o->native == RPC_REFUSED ? o->ops & RPC_OPS_ALL : o->ops >> 16;
}

/* Whether the field is there, and whether it asks for something: for a flag that it is true, for a list that it isn't empty, else that
 * it is another value than the default. */
bool rpc_option_present(const struct rpc_option *o, const CriuOpts *opts);
bool rpc_option_asks(const struct rpc_option *o, const CriuOpts *opts);

/* Puts a value, as the command line writes it, into the message: flags take NULL, "yes", "no"; lists get one more element. Strings are
 * copied: opts is later freed with criu_opts__free_unpacked(opts, NULL). Fields that are messages of their own are not for this function.
 * e speaks of the value alone: whose it is the caller knows by the name that was typed. */
int rpc_option_set(const struct rpc_option *o, CriuOpts *opts, const char *value, struct err *e);

/* Whose words errors and explanations are in: fields, or what is typed. */
enum rpc_words { RPC_WORDS_FIELDS, RPC_WORDS_CLI };
enum { RPC_SHOWN_MAX = 48 };
const char *rpc_option_text(const struct rpc_option *o, enum rpc_words w);
/* "option tcp_close", "--tcp-close". Returns shown. */
const char *rpc_option_shown(const struct rpc_option *o, enum rpc_words w, char shown[RPC_SHOWN_MAX]);

/* Whether op can do what opts ask for: refused options, values out of bounds, options that exclude each other. op: one bit. */
int rpc_options_check(const CriuOpts *opts, enum rpc_op op, enum rpc_words w, struct err *e);
/* The first one that its row refuses; NULL: none. */
const struct rpc_option *rpc_options_refused(const CriuOpts *opts, enum rpc_op op);

const char *rpc_op_name(enum rpc_op op); /* "dump" */
void rpc_options_print(FILE *out);       /* the table in docs/rpc.md */

#endif
