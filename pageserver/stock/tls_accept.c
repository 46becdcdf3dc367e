/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/tls_accept.h"

#include <fcntl.h>

int tls_accept_stock(int fd, struct tls_gate *gate, const char *name, bool cut, struct tls_link *l, struct err *e)
{
	const struct tls_wish wish = { .role = TLS_SERVER, .name = name, .timeout_ms = TLS_STOCK_HANDSHAKE_MS, .kernel = true, .stock = true, .cut = cut };
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? err_sys(e, "TLS: socket") : tls_gate_wrap(gate, copy, &wish, l, e);
}
