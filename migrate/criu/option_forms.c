/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/criu/option_forms.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/cli/opt.h"
#include "migrate/images/cpu_facts.h"
#include "proto/base/comma_list.h"

enum { EMPTY_NET_NS = 0x40000000, MAX_LEVEL = 4 };

typedef int form_function(CriuOpts *opts, const char *value, struct err *e);

static int no_memory(struct err *e)
{
	return err_set(e, ERR_SYSTEM, ENOMEM, "an option's value");
}

static int number_of(const char *text, uint64_t max, uint64_t *n, struct err *e)
{
	if (opt_parse_number(text, OPT_NUMBER, n, e) != 0)
		return -1;
	return *n > max ? err_set(e, ERR_USAGE, 0, "'%.40s' is too large", text) : 0;
}

/* --- one value, spelled differently --------------------------------------------------------------------------------------------- */

static int set_level(CriuOpts *opts, int level)
{
	opts->log_level = level > MAX_LEVEL ? MAX_LEVEL : level;
	opts->has_log_level = true;
	return 0;
}

/* "-v", "-vv" and "--verbosity" add up, a number stands for itself. */
static int form_verbosity(CriuOpts *opts, const char *value, struct err *e)
{
	size_t more = value ? strspn(value, "v") : 0;
	uint64_t n;

	if (!value || !value[more])
		return set_level(opts, opts->log_level + 1 + (int)more);
	return number_of(value, INT_MAX, &n, e) != 0 ? -1 : set_level(opts, (int)n);
}

static const struct { const char *name; unsigned bits; } cpu_caps[] = {
	{ "none", 0 }, { "fpu", CPU_CAP_FPU }, { "cpu", CPU_CAP_CPU }, { "ins", CPU_CAP_INS }, { "all", CPU_CAP_FPU | CPU_CAP_CPU | CPU_CAP_INS },
};

static int add_cpu_cap(const char *word, size_t len, unsigned *caps, struct err *e)
{
	bool without = len && *word == '^';

	for (size_t i = 0; i < sizeof(cpu_caps) / sizeof(cpu_caps[0]); i++) {
		if (len - without != strlen(cpu_caps[i].name) || memcmp(word + without, cpu_caps[i].name, len - without) != 0)
			continue;
		*caps = without ? *caps & ~cpu_caps[i].bits : cpu_caps[i].bits ? *caps | cpu_caps[i].bits : 0;
		return 0;
	}
	return err_set(e, ERR_USAGE, 0, "'%.*s' is none of none, fpu, cpu, ins, all, nor one of these behind a ^", len < 40 ? (int)len : 40, word);
}

/* Naming any makes the image written and looked at. */
static int form_cpu_cap(CriuOpts *opts, const char *value, struct err *e)
{
	const char *rest = value ? value : "all", *word;
	unsigned caps = rest[strspn(rest, " \t")] == '^' ? CPU_CAP_DEFAULT : 0;
	size_t len;

	while (comma_list_next(&rest, &word, &len)) {
		if (add_cpu_cap(word, len, &caps, e) != 0)
			return -1;
	}
	opts->cpu_cap = caps ? caps | CPU_CAP_IMAGE : 0;
	opts->has_cpu_cap = true;
	return 0;
}

static const struct { const char *name; CriuCgMode mode; } cgroup_modes[] = {
	{ "ignore", CRIU_CG_MODE__IGNORE }, { "none", CRIU_CG_MODE__CG_NONE }, { "props", CRIU_CG_MODE__PROPS },
	{ "soft", CRIU_CG_MODE__SOFT }, { "full", CRIU_CG_MODE__FULL }, { "strict", CRIU_CG_MODE__STRICT },
};

static int form_manage_cgroups(CriuOpts *opts, const char *value, struct err *e)
{
	for (size_t i = 0; i < sizeof(cgroup_modes) / sizeof(cgroup_modes[0]); i++) {
		if (strcmp(value ? value : "soft", cgroup_modes[i].name) != 0)
			continue;
		opts->manage_cgroups_mode = cgroup_modes[i].mode;
		return opts->has_manage_cgroups_mode = true, 0;
	}
	return err_set(e, ERR_USAGE, 0, "'%.40s' is none of ignore, none, props, soft, full, strict", value);
}

static int form_pre_dump_mode(CriuOpts *opts, const char *value, struct err *e)
{
	bool readv = strcmp(value, "read") == 0;

	if (!readv && strcmp(value, "splice") != 0)
		return err_set(e, ERR_USAGE, 0, "'%.40s' is neither splice nor read", value);
	opts->pre_dump_mode = readv ? CRIU_PRE_DUMP_MODE__VM_READ : CRIU_PRE_DUMP_MODE__SPLICE;
	opts->has_pre_dump_mode = true;
	return 0;
}

static int form_empty_ns(CriuOpts *opts, const char *value, struct err *e)
{
	if (strcmp(value, "net") != 0)
		return err_set(e, ERR_USAGE, 0, "'%.40s' is not net, the only one that can be empty", value);
	opts->empty_ns |= EMPTY_NET_NS;
	opts->has_empty_ns = true;
	return 0;
}

/* What to run stands behind "--". */
static int form_exec_cmd(CriuOpts *opts, const char *value, struct err *e)
{
	(void)opts;
	(void)value;
	(void)e;
	return 0;
}

/* --- messages ------------------------------------------------------------------------------------------------------------------- */

/* One more element, taken; freed when there is no room. list: of pointers to the message's own type, hence copied as bytes. */
static int append(void *list, size_t *n, void *message, struct err *e)
{
	void **elements;

	memcpy(&elements, list, sizeof(elements));
	elements = message ? reallocarray(elements, *n + 1, sizeof(*elements)) : NULL;
	if (!elements) {
		if (message)
			protobuf_c_message_free_unpacked(message, NULL);
		return no_memory(e);
	}
	elements[(*n)++] = message;
	memcpy(list, &elements, sizeof(elements));
	return 0;
}

static void *new_message(const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *m = malloc(type->sizeof_message);

	if (m)
		protobuf_c_message_init(type, m);
	return m;
}

/* "LEFT<separator>RIGHT" into two fields. */
static int split(const char *value, char separator, char **left, char **right, struct err *e)
{
	const char *at = strchr(value, separator);

	if (!at || at == value || !at[1])
		return err_set(e, ERR_USAGE, 0, "'%.60s' has no two parts with a %c between them", value, separator);
	*left = strndup(value, (size_t)(at - value));
	*right = strdup(at + 1);
	return *left && *right ? 0 : no_memory(e);
}

static int append_filled(int rc, void *list, size_t *n, void *message, struct err *e)
{
	if (rc == 0)
		return append(list, n, message, e);
	if (message)
		protobuf_c_message_free_unpacked(message, NULL);
	return -1;
}

static int form_veth_pair(CriuOpts *opts, const char *value, struct err *e)
{
	CriuVethPair *v = new_message(&criu_veth_pair__descriptor);

	return append_filled(v ? split(value, '=', &v->if_in, &v->if_out, e) : no_memory(e), &opts->veths, &opts->n_veths, v, e);
}

static int form_ext_mount_map(CriuOpts *opts, const char *value, struct err *e)
{
	ExtMountMap *m;

	if (strcmp(value, "auto") == 0) {
		opts->auto_ext_mnt = opts->has_auto_ext_mnt = true;
		return 0;
	}
	m = new_message(&ext_mount_map__descriptor);
	return append_filled(m ? split(value, ':', &m->key, &m->val, e) : no_memory(e), &opts->ext_mnt, &opts->n_ext_mnt, m, e);
}

/* "[CONTROLLER:]/PATH" */
static int form_cgroup_root(CriuOpts *opts, const char *value, struct err *e)
{
	CgroupRoot *r = new_message(&cgroup_root__descriptor);
	int rc = 0;

	if (!r)
		return no_memory(e);
	if (*value != '/' && strchr(value, ':'))
		rc = split(value, ':', &r->ctrl, &r->path, e);
	else if (!(r->path = strdup(value)))
		rc = no_memory(e);
	return append_filled(rc, &opts->cg_root, &opts->n_cg_root, r, e);
}

/* "fd[NUMBER]:RESOURCE" */
static int form_inherit_fd(CriuOpts *opts, const char *value, struct err *e)
{
	InheritFd *f;
	uint64_t n = 0;
	char *end;

	if (strncmp(value, "fd[", 3) != 0 || !isdigit((unsigned char)value[3]) || (n = strtoull(value + 3, &end, 10)) > INT_MAX ||
	    strncmp(end, "]:", 2) != 0 || !end[2])
		return err_set(e, ERR_USAGE, 0, "'%.60s' does not look like fd[NUMBER]:RESOURCE", value);
	f = new_message(&inherit_fd__descriptor);
	if (!f)
		return no_memory(e);
	f->fd = (int)n;
	f->key = strdup(end + 2);
	return append_filled(f->key ? 0 : no_memory(e), &opts->inherit_fd, &opts->n_inherit_fd, f, e);
}

/* "NS:PID|FILE[,EXTRA]" */
static int form_join_ns(CriuOpts *opts, const char *value, struct err *e)
{
	JoinNamespace *j = new_message(&join_namespace__descriptor);
	int rc = j ? split(value, ':', &j->ns, &j->ns_file, e) : no_memory(e);
	char *extra = rc == 0 ? strchr(j->ns_file, ',') : NULL;

	if (extra) {
		j->extra_opt = strdup(extra + 1);
		*extra = '\0';
		rc = j->extra_opt ? 0 : no_memory(e);
	}
	return append_filled(rc, &opts->join_ns, &opts->n_join_ns, j, e);
}

/* "--ext-unix-sk" allows all, "--ext-unix-sk=INODE" one. */
static int form_ext_unix_sk(CriuOpts *opts, const char *value, struct err *e)
{
	UnixSk *u;
	uint64_t inode;

	opts->has_ext_unix_sk = opts->ext_unix_sk = true;
	if (!value)
		return 0;
	if (strcmp(value, "no") == 0)
		return opts->ext_unix_sk = false, 0;
	if (number_of(value, UINT32_MAX, &inode, e) != 0)
		return -1;
	u = new_message(&unix_sk__descriptor);
	if (u)
		u->inode = (uint32_t)inode;
	return append(&opts->unix_sk_ino, &opts->n_unix_sk_ino, u, e);
}

/* --- which ---------------------------------------------------------------------------------------------------------------------- */

static const struct form { const char *name; enum option_arity arity; form_function *set; } forms[] = {
	{ "log_level", OPTION_MAY_HAVE_VALUE, form_verbosity },
	{ "cpu_cap", OPTION_MAY_HAVE_VALUE, form_cpu_cap },
	{ "manage_cgroups_mode", OPTION_MAY_HAVE_VALUE, form_manage_cgroups },
	{ "ext_unix_sk", OPTION_MAY_HAVE_VALUE, form_ext_unix_sk },
	{ "exec_cmd", OPTION_ALONE, form_exec_cmd },
	{ "pre_dump_mode", OPTION_HAS_VALUE, form_pre_dump_mode },
	{ "empty_ns", OPTION_HAS_VALUE, form_empty_ns },
	{ "veths", OPTION_HAS_VALUE, form_veth_pair },
	{ "ext_mnt", OPTION_HAS_VALUE, form_ext_mount_map },
	{ "cg_root", OPTION_HAS_VALUE, form_cgroup_root },
	{ "inherit_fd", OPTION_HAS_VALUE, form_inherit_fd },
	{ "join_ns", OPTION_HAS_VALUE, form_join_ns },
};

static const struct form *form_of(const struct rpc_option *o)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (strcmp(forms[i].name, o->name) == 0)
			return &forms[i];
	}
	return NULL;
}

enum option_arity option_arity(const struct rpc_option *o)
{
	const struct form *f = form_of(o);

	return f ? f->arity : rpc_option_field(o)->type == PROTOBUF_C_TYPE_BOOL ? OPTION_ALONE : OPTION_HAS_VALUE;
}

int option_form_set(const struct rpc_option *o, CriuOpts *opts, const char *value, struct err *e)
{
	const struct form *f = form_of(o);

	if (!f)
		return rpc_option_set(o, opts, value, e);
	if (f->arity == OPTION_HAS_VALUE && !value)
		return err_set(e, ERR_USAGE, 0, "wants a value: %s", o->argument);
	return f->set(opts, value, e);
}
