/* SPDX-License-Identifier: Apache-2.0 */
/* alive.h - says to a native sender, again and again, that its set is being published: a thread that writes one word at a time to the socket while the
 * session's own is busy with files. It says that the process lives, not that it comes on.
 * Threads: begin and end from the session's; between them nothing else may write to the socket. Fails: silently; without it the sender waits as long as it
 * does for a server that says nothing. */
#ifndef DRAY_PAGESERVER_ALIVE_H
#define DRAY_PAGESERVER_ALIVE_H

#include <pthread.h>
#include <stdbool.h>

enum { ALIVE_MS = 5000 };

struct ps_alive {
	int fd; /* borrowed */
	unsigned every_ms;
	bool running, over;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ended;
};
void ps_alive_begin(struct ps_alive *a, int fd, unsigned every_ms);
void ps_alive_end(struct ps_alive *a); /* nothing more is said once it returns */

#endif
