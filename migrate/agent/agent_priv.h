/* SPDX-License-Identifier: Apache-2.0 */
/* agent_priv.h - the agent's state, shared by agent.c (door, hellos, loop) and agent_children.c (its processes), which the former calls.
 * Threads: the only one of its process. */
#ifndef DRAY_MIGRATE_AGENT_PRIV_H
#define DRAY_MIGRATE_AGENT_PRIV_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/agent/hellos.h"
#include "migrate/agent/session.h"
#include "migrate/conduct/config.h"
#include "proto/base/exporter.h"

enum { AT_SIGNALS, AT_LISTENER, AT_HELLOS, AT_CHILDREN = AT_HELLOS + HELLOS_MAX }; /* in what is polled */

struct child {
	pid_t pid; /* 0: free, or adopted */
	bool adopted; /* a session of an agent before us: ends when its line does */
	bool told;    /* that, and how, it is going to end: */
	unsigned status;
	int line;  /* to a session; -1: a process that answers a query */
	struct migration_id id;
	uint64_t reserved; /* bytes of --max-memory */
	bool session; /* else it answers a query */
	struct session_row *row; /* NULL: none */
};

struct agent {
	const struct agent_config *config;
	int listener, signals;
	bool draining;
	uint64_t drain_deadline_us; /* 0: none */
	uint64_t look_us, look_until_us; /* when to look for sessions of an agent before us; 0: not any more */
	struct tls_gate *tls; /* NULL: plain text */
	struct hellos *hellos;
	struct metrics *metrics; /* NULL: nobody counts */
	struct exporter exporter;
	uint64_t number, sessions; /* of the latest; under way */
	struct child *child; /* as many as there ever were at once: nothing limits them but memory and process ids */
	size_t children;
	struct pollfd *polled; /* AT_CHILDREN + children */
};

bool agent_child_in_use(const struct child *c);
struct child *agent_find_session(struct agent *a, const struct migration_id *id); /* NULL: none under way */
/* A free slot; NULL without memory. Slots may move: no pointer to another one is good any more. */
struct child *agent_free_child(struct agent *a);
unsigned agent_children_left(const struct agent *a);
enum hello_status agent_start_session(struct agent *a, const struct hello *h, const struct caller *caller);
/* One that outlived the agent that started it (session_door.h). NULL: there is none, or it has not noticed yet. */
struct child *agent_adopt_session(struct agent *a, const struct migration_id *id);
/* Adopts those that have a record. False: some could not be. */
bool agent_adopt_sessions(struct agent *a);
/* Passes a copy of fd on to a session. */
enum hello_status agent_hand_over(struct child *c, enum agent_message_kind kind, const struct hello *h, int fd);
/* A session that is over speaks through its record. */
enum hello_status agent_answer_from_record(struct agent *a, const struct migration_id *id, int fd);
void agent_on_line(struct agent *a, struct child *c); /* it can be read */
void agent_reap(struct agent *a);

#endif
