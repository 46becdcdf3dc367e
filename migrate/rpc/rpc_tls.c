/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/rpc/rpc_tls.h"

static const char *given(const char *text)
{
	return text && text[0] ? text : NULL;
}

struct tls_config rpc_tls_config(const CriuOpts *o)
{
	if (!o->tls)
		return (struct tls_config){ .on = false };
	return (struct tls_config){ .on = true, .cacert = given(o->tls_cacert), .cacrl = given(o->tls_cacrl), .cert = given(o->tls_cert),
				    .key = given(o->tls_key), .no_name_check = o->tls_no_cn_verify };
}

const char *rpc_tls_name(const CriuOpts *o, const char *address)
{
	return o->tls_no_cn_verify ? NULL : given(address);
}
