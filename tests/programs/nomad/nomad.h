/* SPDX-License-Identifier: Apache-2.0 */
/* nomad.h - what the parts of nomad (nomad.c) share. Whatever is wrong is said by fail, or by NEED, and ends nothing: the verdict has it. */
#ifndef DRAY_TESTS_NOMAD_H
#define DRAY_TESTS_NOMAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

extern const char *dir; /* where its files are */
extern uint64_t seed;
extern bool children;   /* whether it may have some */

uint64_t now_ns(void); /* CLOCK_MONOTONIC */
__attribute__((format(printf, 1, 2))) void fail(const char *fmt, ...);
#define NEED(cond) ((cond) ? true : (fail("line %d: %s", __LINE__, #cond), false))

uint64_t mix(uint64_t z);
uint64_t next_random(uint64_t *s);
unsigned below(uint64_t *s, unsigned n);
void dawdle(uint64_t *s, unsigned most_us); /* mostly not at all, sometimes for a while */

pthread_t begin(void *(*body)(void *), void *arg); /* a thread, for ever */

/* memory.c */
void begin_memory(void);
void check_memory(void); /* all of it */
/* descriptors.c: pipes, sockets, files */
void begin_descriptors(void);
/* waits.c: for each other, for time, for signals; registers; threads that come and go */
void handle_signals(void); /* in the first thread */
void begin_waits(void);

#endif
