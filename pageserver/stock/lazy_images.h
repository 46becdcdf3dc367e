/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_images.h - pages of an image directory, and of the sets before it, for who fetches them late (lazy_server.h). Page maps are opened when their
 * task is first asked for, and stay open.
 * Threads: one. Lifetime: open/close. Fails: err; ERR_PROTOCOL for a task or a page that the images don't have. */
#ifndef DRAY_PAGESERVER_LAZY_IMAGES_H
#define DRAY_PAGESERVER_LAZY_IMAGES_H

#include "pageserver/stock/lazy_server.h"

/* Whether the directory has the page map of a task at all: who serves it says so before anybody comes. */
int lazy_images_check(int dirfd, struct err *e);

struct lazy_images;
struct lazy_images *lazy_images_open(int dirfd, struct err *e); /* dirfd: borrowed */
void lazy_images_close(struct lazy_images *i); /* accepts NULL */
struct lazy_pages lazy_images_pages(struct lazy_images *i);

/* One client, out of a directory. */
int lazy_images_serve(int fd, int dirfd, const struct lazy_rules *rules, struct lazy_report *out, struct err *e);

#endif
