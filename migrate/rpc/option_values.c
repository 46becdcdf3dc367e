/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and setting any field of criu_opts through its descriptor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/cli/opt.h"
#include "migrate/rpc/options.h"

static const void *member(const CriuOpts *opts, unsigned offset)
{
	return (const char *)opts + offset;
}

static void *member_to_set(CriuOpts *opts, unsigned offset)
{
	return (char *)opts + offset;
}

static size_t count_of(const ProtobufCFieldDescriptor *f, const CriuOpts *opts)
{
	return *(const size_t *)member(opts, f->quantifier_offset);
}

static bool is_pointer(const ProtobufCFieldDescriptor *f)
{
	return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE;
}

bool rpc_option_present(const struct rpc_option *o, const CriuOpts *opts)
{
	const ProtobufCFieldDescriptor *f = rpc_option_field(o);

	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return count_of(f, opts) > 0;
	if (is_pointer(f))
		return *(const void *const *)member(opts, f->offset) != NULL;
	return *(const protobuf_c_boolean *)member(opts, f->quantifier_offset);
}

/* Numbers and enums are all 32 bits wide here. */
static uint32_t number_of(const ProtobufCFieldDescriptor *f, const CriuOpts *opts)
{
	return *(const uint32_t *)member(opts, f->offset);
}

static bool asks_for_another_number(const struct rpc_option *o, const ProtobufCFieldDescriptor *f, const CriuOpts *opts)
{
	uint32_t value = number_of(f, opts), preset = f->default_value ? *(const uint32_t *)f->default_value : 0;

	return value != preset && !(value < 32 && o->harmless >> value & 1);
}

bool rpc_option_asks(const struct rpc_option *o, const CriuOpts *opts)
{
	const ProtobufCFieldDescriptor *f = rpc_option_field(o);

	if (!rpc_option_present(o, opts))
		return false;
	if (f->label == PROTOBUF_C_LABEL_REPEATED || f->type == PROTOBUF_C_TYPE_MESSAGE)
		return true;
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return **(const char *const *)member(opts, f->offset) != '\0';
	if (f->type == PROTOBUF_C_TYPE_BOOL)
		return *(const protobuf_c_boolean *)member(opts, f->offset);
	return asks_for_another_number(o, f, opts);
}

/* --- setting -------------------------------------------------------------------------------------------------------------------- */

static int set_flag(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	bool yes = !value || strcmp(value, "yes") == 0 || strcmp(value, "true") == 0;

	if (!yes && strcmp(value, "no") != 0 && strcmp(value, "false") != 0)
		return err_set(e, ERR_USAGE, 0, "'%.40s' is neither yes nor no", value);
	*(protobuf_c_boolean *)member_to_set(opts, f->offset) = yes;
	*(protobuf_c_boolean *)member_to_set(opts, f->quantifier_offset) = true;
	return 0;
}

static int put_number(const ProtobufCFieldDescriptor *f, CriuOpts *opts, uint32_t value)
{
	*(uint32_t *)member_to_set(opts, f->offset) = value;
	*(protobuf_c_boolean *)member_to_set(opts, f->quantifier_offset) = true;
	return 0;
}

static int set_number(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	uint64_t max = f->type == PROTOBUF_C_TYPE_INT32 ? INT32_MAX : UINT32_MAX, v;

	if (opt_parse_number(value, strcmp(f->name, "ghost_limit") == 0 ? OPT_BYTES : OPT_NUMBER, &v, e) != 0)
		return -1;
	if (v > max)
		return err_set(e, ERR_USAGE, 0, "'%.40s' is too large", value);
	return put_number(f, opts, (uint32_t)v);
}

/* Names are those of the protocol's values, in any case. */
static int set_enum(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	const ProtobufCEnumDescriptor *names = f->descriptor;

	for (unsigned i = 0; i < names->n_values; i++) {
		if (strcasecmp(names->values[i].name, value) == 0)
			return put_number(f, opts, (uint32_t)names->values[i].value);
	}
	return err_set(e, ERR_USAGE, 0, "'%.40s' is no value of it", value);
}

static int set_string(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	char **field = member_to_set(opts, f->offset), *copy = strdup(value);

	if (!copy)
		return err_set(e, ERR_SYSTEM, ENOMEM, "an option's value");
	free(*field);
	*field = copy;
	return 0;
}

static int add_string(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	char ***list = member_to_set(opts, f->offset), **more, *copy = strdup(value);
	size_t *n = member_to_set(opts, f->quantifier_offset);

	more = copy ? reallocarray(*list, *n + 1, sizeof(*more)) : NULL;
	if (!more) {
		free(copy);
		return err_set(e, ERR_SYSTEM, ENOMEM, "an option's value");
	}
	more[(*n)++] = copy;
	*list = more;
	return 0;
}

static int set_value(const ProtobufCFieldDescriptor *f, CriuOpts *opts, const char *value, struct err *e)
{
	bool list = f->label == PROTOBUF_C_LABEL_REPEATED;

	if (f->type == PROTOBUF_C_TYPE_BOOL)
		return set_flag(f, opts, value, e);
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return err_set(e, ERR_USAGE, 0, "has no single value, it can't be set here");
	if (!value)
		return err_set(e, ERR_USAGE, 0, "wants a value");
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return list ? add_string(f, opts, value, e) : set_string(f, opts, value, e);
	return f->type == PROTOBUF_C_TYPE_ENUM ? set_enum(f, opts, value, e) : set_number(f, opts, value, e);
}

int rpc_option_set(const struct rpc_option *o, CriuOpts *opts, const char *value, struct err *e)
{
	return set_value(rpc_option_field(o), opts, value, e);
}

/* --- docs/rpc.md ---------------------------------------------------------------------------------------------------------------- */

static void print_ops(unsigned ops, FILE *out)
{
	static const char letters[] = "DPRSCU";

	if (ops == RPC_OPS_ALL) {
		fputs("all", out);
		return;
	}
	for (unsigned i = 0; letters[i]; i++) {
		if (ops >> i & 1)
			putc(letters[i], out);
	}
}

static const char *type_text(const ProtobufCFieldDescriptor *f)
{
	static const char *const names[] = { [PROTOBUF_C_TYPE_INT32] = "int32", [PROTOBUF_C_TYPE_UINT32] = "uint32",
					     [PROTOBUF_C_TYPE_BOOL] = "bool", [PROTOBUF_C_TYPE_STRING] = "string" };

	if (f->type == PROTOBUF_C_TYPE_ENUM)
		return ((const ProtobufCEnumDescriptor *)f->descriptor)->name;
	return f->type == PROTOBUF_C_TYPE_MESSAGE ? ((const ProtobufCMessageDescriptor *)f->descriptor)->name : names[f->type];
}

void rpc_options_print(FILE *out)
{
	static const char *const standing[] = { [RPC_WORKS] = "works", [RPC_ACCEPTED] = "accepted", [RPC_REFUSED] = "refused" };

	fputs("| # | Field | Type | For | Native engine | What it does, or why not |\n|---|---|---|---|---|---|\n", out);
	for (const struct rpc_option *o = rpc_options; o->name; o++) {
		const ProtobufCFieldDescriptor *f = rpc_option_field(o);

		fprintf(out, "| %u | `%s` | %s%s | ", o->number, o->name, type_text(f), f->label == PROTOBUF_C_LABEL_REPEATED ? " *" : "");
		print_ops(o->ops & RPC_OPS_ALL, out);
		fprintf(out, " | %s", standing[o->native]);
		if (o->native != RPC_REFUSED && rpc_option_refused_for(o)) {
			fputs("; refused: ", out);
			print_ops(rpc_option_refused_for(o), out);
		}
		fprintf(out, " | %s |\n", o->text);
	}
}
