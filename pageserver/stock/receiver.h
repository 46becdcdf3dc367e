/* SPDX-License-Identifier: Apache-2.0 */
/* receiver.h - one session of a sender that speaks CRIU's page-server protocol, from a connected socket into a page sink.
 * Holds one buffer (PS_INPUT_BUFFER) and allocates nothing else, however much comes.
 * Threads: one. Fails: err with the page map and the address; the sink is to be destroyed then, nothing was published. */
#ifndef DRAY_PAGESERVER_RECEIVER_H
#define DRAY_PAGESERVER_RECEIVER_H

#include "pageserver/images/page_sink.h"
#include "pageserver/stock/server.h"

/* Returns when the sender closed the session and was told, the sink having been finished before, and (unless inherited) when it hung up or
 * took too long to do so. fd and sink are borrowed; of c the limits and who is told. report: filled in any case, but for who the sender is, which stays. */
int ps_receive(int fd, bool inherited, struct page_sink *sink, const struct page_server_config *c, struct page_server_report *report,
	       struct err *e);

#endif
