/* SPDX-License-Identifier: Apache-2.0 */
#include "pageserver/stock/alive.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#include "proto/wire/ps_native.h"

static bool say(const struct ps_alive *a)
{
	const struct ps_native_answer word = { .kind = PS_NATIVE_ALIVE };
	uint8_t bytes[PS_NATIVE_ANSWER];

	ps_native_answer_encode(&word, bytes);
	return send(a->fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* A sender that reads nothing has a buffer that fills: it is left alone then. */
static void *run(void *arg)
{
	struct ps_alive *a = arg;

	pthread_mutex_lock(&a->lock);
	for (bool heard = true; heard && !a->over;) {
		struct timespec next = in_ms(a->every_ms);
		int rc = 0;

		while (!a->over && rc != ETIMEDOUT)
			rc = pthread_cond_timedwait(&a->ended, &a->lock, &next);
		heard = a->over || say(a);
	}
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void ps_alive_begin(struct ps_alive *a, int fd, unsigned every_ms)
{
	pthread_condattr_t attr;

	*a = (struct ps_alive){ .fd = fd, .every_ms = every_ms };
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->ended, &attr);
	pthread_condattr_destroy(&attr);
	a->running = pthread_create(&a->thread, NULL, run, a) == 0;
}

void ps_alive_end(struct ps_alive *a)
{
	if (a->running) {
		pthread_mutex_lock(&a->lock);
		a->over = true;
		pthread_cond_signal(&a->ended);
		pthread_mutex_unlock(&a->lock);
		pthread_join(a->thread, NULL);
	}
	pthread_cond_destroy(&a->ended);
	pthread_mutex_destroy(&a->lock);
}
