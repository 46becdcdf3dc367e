/* SPDX-License-Identifier: Apache-2.0 */
/* tls_relay.h - TLS for code that knows nothing of it: a connected socket goes in, a descriptor that carries the plain bytes comes out.
 *
 * A gate is a small process, forked at the start of a program, that does nothing but fork a relay for each connection. The relay reads the
 * credentials (so new files count from the next connection on), gives up its rights (sandbox.h), shakes hands, and then either hands the socket itself
 * back, the kernel having taken over (tls_to_kernel), or stays and carries bytes between the socket and a unix socket whose other end is
 * the caller's. So descriptors can be passed on between processes as plain ones can, OpenSSL never reads a peer's bytes in a process that matters, and a
 * fork costs what the gate's few pages cost, however large its user is. docs/decisions/009 has what was measured.
 *
 * A relay keeps the ends apart: what one side shuts, the other finds shut. It holds at most TLS_RELAY_BUFFER bytes a direction beside OpenSSL's own,
 * waits for nothing else, and ends when both sides have, or one side is gone: a peer that lets nothing on is waited for no longer than for a handshake then.
 * Its gate's end does not end it.
 *
 * TLS_KERNEL_VARIABLE=0 in the user's environment: the kernel is never asked.
 *
 * Threads: any may wrap, at once, also in processes forked from the one that started the gate. Fails: err; a peer's fault as in tls.h. */
#ifndef DRAY_BASE_TLS_RELAY_H
#define DRAY_BASE_TLS_RELAY_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/base/tls.h"

#define TLS_KERNEL_VARIABLE "DRAY_KTLS"

enum {
	TLS_RELAY_BUFFER = 256 * 1024,
	TLS_CUT_HEAD = 4, TLS_CUT_MAX = 16384,
	TLS_STOCK_HANDSHAKE_MS = 20 * 1000, /* for a wish with `stock` */
};

struct tls_gate;
/* Checks the files first. The config's strings must stay until it is stopped. */
struct tls_gate *tls_gate_start(const struct tls_config *c, struct err *e);
/* Relays go on. Accepts NULL. */
void tls_gate_stop(struct tls_gate *g);
int tls_gate_line(const struct tls_gate *g); /* what a child that must not keep the gate open closes */

struct tls_wish {
	enum tls_role role;
	const char *name;  /* of the host that was connected to; NULL as a server */
	int timeout_ms;    /* for the handshake; and for each step of a peer that is still to be told something when the user is gone */
	bool kernel;       /* the socket may be handed back, encrypted by the kernel */
	bool stock;        /* the peer may be stock criu: TLS 1.2 will do, and ends are said in TLS */
	bool cut;          /* the user says where records begin */
};

/* How it says that, once it is known who encrypts. */
enum tls_cutting {
	TLS_CUT_NOT,       /* it doesn't */
	TLS_CUT_BY_LENGTH, /* a relay: writes each record behind its length (le32, 1 to TLS_CUT_MAX); a length of 0: from here on as it comes */
	TLS_CUT_BY_SEND,   /* the kernel: a send without MSG_MORE ends a record, and of more than TLS_CUT_MAX bytes each so many are one */
};

struct tls_link {
	int fd;       /* plain bytes; owned. -1 until tls_gate_finish */
	int words;    /* what the relay has to say; readable when tls_gate_finish won't wait; owned */
	bool in_kernel; /* read with tls_recv (tls_control.h) where the peer may be stock criu */
	bool stock;   /* as in the wish */
	enum tls_cutting cut;
	char peer[TLS_NAME_MAX]; /* the name in its certificate */
};
#define TLS_LINK_NONE ((struct tls_link){ .fd = -1, .words = -1 })

/* Takes fd, whatever comes of it. Poll l->words before finish. */
int tls_gate_begin(struct tls_gate *g, int fd, const struct tls_wish *w, struct tls_link *l, struct err *e);
int tls_gate_finish(struct tls_link *l, struct err *e); /* -1: l is closed */
/* Both, waiting. */
int tls_gate_wrap(struct tls_gate *g, int fd, const struct tls_wish *w, struct tls_link *l, struct err *e);
/* Why a link broke, if it was TLS that broke: replaces what is in e. A TLS 1.3 client learns only after the handshake that its certificate was
 * refused: whoever first reads from a link, in vain, asks here. */
void tls_link_explain(const struct tls_link *l, struct err *e);
/* The same after a failure in the middle of a link's use, where e says that the peer is gone: an end that had nothing to say is not waited for. Nothing
 * can be written to the link behind it. */
void tls_link_failed(const struct tls_link *l, struct err *e);
/* Nothing more comes from here; a stock peer is told so in TLS. */
void tls_link_shut(const struct tls_link *l);
/* The same, for good. Accepts TLS_LINK_NONE. */
void tls_link_close(struct tls_link *l);
/* The plain bytes are somebody else's from here on: closes the rest of the link without a word. Returns the descriptor. */
int tls_link_release(struct tls_link *l);

#endif
