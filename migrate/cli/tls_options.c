/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/cli/tls_options.h"

/* Who names whom to let in must not be left without anybody looking. */
int tls_options_check(const struct tls_config *c, struct err *e)
{
	if ((c->allow || c->no_name_check) && !tls_configured(c))
		return err_set(e, ERR_USAGE, 0, "%s has no effect without TLS: give --tls, or name its files", c->allow ? "--tls-allow" : "--tls-no-cn-verify");
	if (c->allow && c->no_name_check)
		return err_set(e, ERR_USAGE, 0, "--tls-allow and --tls-no-cn-verify exclude each other: the one wants a name, the other takes any");
	return c->allow && tls_check_names(c->allow, e) < 0 ? err_wrap(e, "--tls-allow") : 0;
}
