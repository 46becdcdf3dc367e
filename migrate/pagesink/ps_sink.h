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
#include "proto/base/tls_relay.h"
#include "proto/wire/ps_command.h"

/* Connects to a server. address: a name or an address, without a port. The descriptor is the caller's. */
int ps_connect(const char *address, uint16_t port, struct err *e);

enum ps_protocol { PS_AUTO, PS_STOCK, PS_NATIVE };
/* How the user wants a server spoken to. */
struct ps_choice {
	enum ps_protocol protocol; /* PS_AUTO: natively where it can; PS_NATIVE: or not at all */
	unsigned streams;          /* connections of a native session, where the server takes several; 0: one */
	enum ps_layout layout;     /* of criu's protocol; PS_LAYOUT_UNKNOWN: it is asked. Else it is not, and is stock as far as anybody knows */
};
/* protocol: auto, stock, native; layout: 24, 32; streams: 1 to STREAMS_MAX. NULL, or below 0: not said. */
int ps_choice_parse(const char *protocol, int layout, int streams, struct ps_choice *c, struct err *e);

struct ps_sink_config {
	int fd;         /* borrowed, must outlive the sink */
	bool inherited; /* it goes on to serve somebody else, who finds it where the session ends; else its sending side is shut when the sink is finished */
	const struct tls_link *tls; /* whose fd it is, made with `stock` and `cut` (tls_relay.h): a stock server can read a header, and pages, only where records
				       begin with them, and none has both. In a native session no more is cut. Borrowed; NULL: plain text */
	struct ps_choice choice;
	enum compress_mode mode; /* in a native session, which also sends no pages of zeros */
	/* Makes another connection to the same server, the caller's: in place of one that was cut, and for more than one. NULL: there is neither */
	int (*connect)(void *arg, struct err *e);
	void *arg;
	unsigned silence_ms, patience_ms; /* as ps_streams.h has them; 0: its */
};
struct page_sink *ps_sink_open(const struct ps_sink_config *c, struct err *e); /* NULL with e set */
/* The same with nothing special. */
struct page_sink *ps_sink_create(int fd, bool inherited, enum ps_layout layout, enum compress_mode mode, struct err *e);

/* How long a server may take over the status of a set of so many pages, its parents' too (--flat). One that says that it lives is waited for as long as it
 * does: this is the time between two of its words then. */
int ps_status_patience_ms(uint64_t pages, bool hears_alive);

/* What the server turned out to be. */
enum ps_layout ps_sink_layout(const struct page_sink *s);
bool ps_sink_is_ours(const struct page_sink *s, uint32_t *features); /* only where it was asked */

#endif
