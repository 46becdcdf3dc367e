/* SPDX-License-Identifier: Apache-2.0 */
#include "migrate/send/choose.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "migrate/send/sender.h"

#define MEGA 1000000ull
enum {
	LINK_WINDOW = 32 << 20,      /* more than the socket's buffers, so that the link and not the buffer is measured */
	TRY_WINDOW = 4 << 20,
	LOOK_AGAIN = 512 << 20,
};
/* Below this a stream's lz4 keeps up with the link for most data: copying, which can compress, is worth its cost. */
#define SLOW_LINK (600 * MEGA)
enum { MANY_ZEROS = 40 /* percent: copying moves half of what splicing does, so from about here on it is the faster one */ };

bool compress_pays(uint64_t link, uint64_t compress, unsigned ratio_percent)
{
	uint64_t through; /* raw bytes a second with compression: the slower of compressing and of sending what is left */

	if (link == 0 || compress == 0 || ratio_percent < 105)
		return false;
	through = link / 100 * ratio_percent;
	/* The same core also extracts and sends: a fifth of it is gone already. */
	if (compress / 5 * 4 < through)
		through = compress / 5 * 4;
	return through > link + link / 20;
}

void compress_auto_init(struct compress_auto *a, uint64_t limit)
{
	*a = (struct compress_auto){ .state = AUTO_MEASURE_LINK, .limit = limit };
}

bool compress_auto_wants(const struct compress_auto *a)
{
	return a->state == AUTO_TRY || a->state == AUTO_ON;
}

static void count_down(struct compress_auto *a, uint64_t bytes)
{
	if (bytes < a->left)
		a->left -= bytes;
	else if (a->state == AUTO_ON)
		*a = (struct compress_auto){ .state = AUTO_TRY, .limit = a->limit, .link = a->link };
	else
		compress_auto_init(a, a->limit);
}

void compress_auto_sent(struct compress_auto *a, uint64_t bytes, uint64_t us)
{
	if (a->state == AUTO_OFF)
		count_down(a, bytes);
	if (a->state != AUTO_MEASURE_LINK)
		return;
	a->sent += bytes;
	a->sent_us += us;
	/* A slow link shows before the window is full: a second's wait is enough to know. */
	if (a->sent < LINK_WINDOW && a->sent_us < MEGA)
		return;
	a->link = a->sent * MEGA / (a->sent_us ? a->sent_us : 1);
	if (a->limit && a->limit < a->link)
		a->link = a->limit;
	a->state = AUTO_TRY;
}

void compress_auto_compressed(struct compress_auto *a, uint64_t raw, uint64_t stored, uint64_t us)
{
	if (a->state == AUTO_ON)
		count_down(a, raw);
	if (a->state != AUTO_TRY)
		return;
	a->raw += raw;
	a->stored += stored;
	a->spent_us += us;
	if (a->raw < TRY_WINDOW)
		return;
	a->state = compress_pays(a->link, a->raw * MEGA / (a->spent_us ? a->spent_us : 1),
				 (unsigned)(a->raw * 100 / (a->stored ? a->stored : 1))) ? AUTO_ON : AUTO_OFF;
	a->left = LOOK_AGAIN;
}

enum extract_kind sender_choose_extract(enum extract_kind asked, const struct extract_facts *f)
{
	uint64_t link = f->link_bytes_per_s;

	if (!f->twins || asked == EXTRACT_COPY)
		return EXTRACT_COPY;
	if (f->compress == COMPRESS_LZ4) /* needs the bytes in user space */
		return EXTRACT_COPY;
	if (asked == EXTRACT_SPLICE || f->compress == COMPRESS_NONE)
		return EXTRACT_SPLICE;
	if (f->zero_percent >= MANY_ZEROS)
		return EXTRACT_COPY;
	if (f->max_bandwidth && (link == 0 || f->max_bandwidth < link))
		link = f->max_bandwidth;
	return link != 0 && link < SLOW_LINK ? EXTRACT_COPY : EXTRACT_SPLICE;
}

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
	if (!a || a->sa_family != b->ss_family)
		return false;
	if (a->sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)(const void *)a)->sin_addr,
			      &((const struct sockaddr_in *)(const void *)b)->sin_addr, sizeof(struct in_addr)) == 0;
	return a->sa_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

uint64_t sender_link_speed(int sock)
{
	struct sockaddr_storage own = { 0 };
	socklen_t len = sizeof(own);
	struct ifaddrs *all;
	long mbit = 0;

	if (getsockname(sock, (struct sockaddr *)&own, &len) < 0 || getifaddrs(&all) < 0)
		return 0;
	for (struct ifaddrs *i = all; i; i = i->ifa_next) {
		char path[64 + IF_NAMESIZE];
		FILE *f;

		if (!same_address(i->ifa_addr, &own) || (i->ifa_flags & IFF_LOOPBACK))
			continue;
		snprintf(path, sizeof(path), "/sys/class/net/%.15s/speed", i->ifa_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%ld", &mbit) != 1)
			mbit = 0;
		if (f)
			fclose(f);
		break;
	}
	freeifaddrs(all);
	return mbit > 0 ? (uint64_t)mbit * MEGA / 8 : 0;
}
