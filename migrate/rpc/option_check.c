/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a set of options can be done: what the rows refuse, values out of bounds, options that exclude each other. */
#include <string.h>

#include "migrate/rpc/options.h"

enum { EMPTY_NET_NS = 0x40000000, PORT_MAX = 65535 };

static bool is_refused(const struct rpc_option *o, const CriuOpts *opts, enum rpc_op op)
{
	return rpc_option_refused_for(o) & op && rpc_option_asks(o, opts);
}

const struct rpc_option *rpc_options_refused(const CriuOpts *opts, enum rpc_op op)
{
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		if (is_refused(o, opts, op))
			return o;
	}
	return NULL;
}

static int check_row(const struct rpc_option *o, const CriuOpts *opts, enum rpc_op op, enum rpc_words w, struct err *e)
{
	char shown[RPC_SHOWN_MAX];

	if (!is_refused(o, opts, op))
		return 0;
	rpc_option_shown(o, w, shown);
	if (o->native == RPC_REFUSED)
		return err_set(e, ERR_USAGE, 0, "%s is not supported: %s", shown, rpc_option_text(o, w));
	return err_set(e, ERR_USAGE, 0, "%s is not supported in a %s: %s", shown, rpc_op_name(op), rpc_option_text(o, w));
}

/* A value that the enum does not have is unpacked as the number that it is. */
static int check_enum(const struct rpc_option *o, const CriuOpts *opts, enum rpc_words w, struct err *e)
{
	const ProtobufCFieldDescriptor *f = rpc_option_field(o);
	char shown[RPC_SHOWN_MAX];
	int value;

	if (f->type != PROTOBUF_C_TYPE_ENUM || !rpc_option_present(o, opts))
		return 0;
	value = *(const int *)((const char *)opts + f->offset);
	if (protobuf_c_enum_descriptor_get_value(f->descriptor, value))
		return 0;
	return err_set(e, ERR_USAGE, 0, "%s: %d is no value of it", rpc_option_shown(o, w, shown), value);
}

/* Names become files below a directory: nothing else. */
static int check_log_file(const char *name, struct err *e)
{
	if (!name || (name[0] && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0))
		return 0;
	return err_set(e, ERR_USAGE, 0, "option log_file: \"%.80s\" must be a name in the work directory, without a slash", name);
}

/* Who sends pages must know where to. */
static int check_target(const CriuPageServerInfo *ps, enum rpc_words w, struct err *e)
{
	if (ps->has_fd || (ps->address && ps->address[0] && ps->has_port && ps->port > 0))
		return 0;
	return err_set(e, ERR_USAGE, 0, w == RPC_WORDS_CLI ? "--page-server: neither --address and --port nor --ps-socket say where it is" :
		       "option ps: neither address and port nor fd say where the page server is");
}

static int check_ps(const CriuOpts *o, enum rpc_op op, enum rpc_words w, struct err *e)
{
	const CriuPageServerInfo *ps = o->ps;
	bool sends = op == RPC_OP_PRE_DUMP || (op == RPC_OP_DUMP && !o->lazy_pages);

	if (!ps)
		return 0;
	if (ps->has_port && (ps->port < 0 || ps->port > PORT_MAX))
		return err_set(e, ERR_USAGE, 0, "%s %d is none", w == RPC_WORDS_CLI ? "--port:" : "option ps: port", ps->port);
	return sends ? check_target(ps, w, e) : 0;
}

/* On a socket that goes on to serve somebody else there can't be any. */
static int check_tls(const CriuOpts *o, enum rpc_op op, enum rpc_words w, struct err *e)
{
	if (!o->tls || !(op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP | RPC_OP_PAGE_SERVER)))
		return 0;
	if (o->ps && o->ps->has_fd)
		return err_set(e, ERR_USAGE, 0, w == RPC_WORDS_CLI ? "--tls and --ps-socket exclude each other: give --address and --port" :
			       "option tls and ps.fd exclude each other: give address and port");
	return 0;
}

static int check_values(const CriuOpts *o, enum rpc_op op, enum rpc_words w, struct err *e)
{
	if (o->has_pid && op & (RPC_OP_DUMP | RPC_OP_PRE_DUMP) && o->pid <= 0)
		return err_set(e, ERR_USAGE, 0, "%s: %d is no process", w == RPC_WORDS_CLI ? "--tree" : "option pid", o->pid);
	if (o->has_empty_ns && o->empty_ns & ~(uint32_t)EMPTY_NET_NS)
		return err_set(e, ERR_USAGE, 0, "option empty_ns: 0x%x has more than the network namespace (0x%x)", o->empty_ns, EMPTY_NET_NS);
	if (o->mntns_compat_mode && op != RPC_OP_RESTORE)
		return err_set(e, ERR_USAGE, 0, "%s is for a restore only", w == RPC_WORDS_CLI ? "--mntns-compat-mode" : "option mntns_compat_mode");
	return check_log_file(o->log_file, e) != 0 || check_tls(o, op, w, e) != 0 ? -1 : check_ps(o, op, w, e);
}

int rpc_options_check(const CriuOpts *opts, enum rpc_op op, enum rpc_words w, struct err *e)
{
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		if (check_enum(o, opts, w, e) != 0 || check_row(o, opts, op, w, e) != 0)
			return -1;
	}
	return check_values(opts, op, w, e);
}
