/* SPDX-License-Identifier: Apache-2.0 */
/* ps_sink.h - a page sink at the other end of a socket: a page server that speaks CRIU's protocol, stock or ours.
 *
 * Which of the two layouts it understands is asked by a probe (proto/wire/ps_probe.h) unless it is known; that costs a round trip, with a server
 * of criu 4.2 or newer half a second more. Do it before anything is stopped.
 * A server that takes nothing or answers nothing fails what waits for it with ERR_TIMEOUT: what is stopped meanwhile can go on.
 *
 * Threads: one. Fails: err; ERR_PEER when the server ended the session (a native one said why; the stock protocol has no words for it). */
#ifndef DRAY_MIGRATE_PS_SINK_H
#define DRAY_MIGRATE_PS_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/send/sender.h"
#include "pageserver/images/page_sink.h"
#include "proto/wire/ps_command.h"

/* Connects to a server. address: a name or an address, without a port. The descriptor is the caller's. */
int ps_connect(const char *address, uint16_t port, struct err *e);

/* fd: borrowed, must outlive the sink. inherited: it goes on to serve somebody else, who finds it where the session ends; else its sending side
 * is shut when the sink is finished. layout: PS_LAYOUT_UNKNOWN asks, and goes over to a native session where the server has them: zero pages not
 * sent, the others compressed as `mode` says. NULL with e set. */
struct page_sink *ps_sink_create(int fd, bool inherited, enum ps_layout layout, enum compress_mode mode, struct err *e);
/* The same, where fd is of a TLS link whose records are cut by its user (tls_relay.h): a stock server can read a header, and pages, only where
 * records begin with them, and none has both. In a native session no more is cut. */
struct page_sink *ps_sink_create_cut(int fd, enum ps_layout layout, enum compress_mode mode, struct err *e);

/* How long a server may take over the status of a set of so many pages, its parents' too (--flat). One that says that it lives is waited for as long as it
 * does: this is the time between two of its words then. */
int ps_status_patience_ms(uint64_t pages, bool hears_alive);

/* What the server turned out to be. */
enum ps_layout ps_sink_layout(const struct page_sink *s);
bool ps_sink_is_ours(const struct page_sink *s, uint32_t *features); /* only where it was asked */

#endif
