/* SPDX-License-Identifier: Apache-2.0 */
/* option_forms.h - how criu's command line and configuration files spell the fields of criu_opts where that is not the field's own value:
 * levels that add up, words for bits, pairs for messages. Threads: any. Fails: ERR_USAGE that says what is allowed. */
#ifndef DRAY_MIGRATE_CRIU_OPTION_FORMS_H
#define DRAY_MIGRATE_CRIU_OPTION_FORMS_H

#include "migrate/rpc/options.h"

enum option_arity { OPTION_ALONE, OPTION_MAY_HAVE_VALUE, OPTION_HAS_VALUE };
enum option_arity option_arity(const struct rpc_option *o);

/* Puts value, as the command line has it, into opts. NULL: the option alone. Of a flag also "yes" and "no". */
int option_form_set(const struct rpc_option *o, CriuOpts *opts, const char *value, struct err *e);

#endif
