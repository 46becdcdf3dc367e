/* SPDX-License-Identifier: Apache-2.0 */
/* lazy_feeder IMAGES WORK [PORT LAYOUT] - the lazy-pages daemon without a front end: for tests. PORT: of 127.0.0.1, where the pages are that the
 * images lack; LAYOUT: 24 or 32. Prints "ready" when its socket is there. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "migrate/lazy/lazy_daemon.h"
#include "proto/base/sock.h"

static int ready(void *arg, struct err *e)
{
	(void)arg;
	(void)e;
	puts("ready");
	return fflush(stdout);
}

int main(int argc, char **argv)
{
	struct lazy_daemon_config c = { .page_server = -1, .layout = PS_LAYOUT_24, .ready = ready };
	struct err e = { 0 };

	if (argc != 3 && argc != 5)
		return 2;
	c.images_dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c.work_dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (argc == 5) {
		char address[64];

		snprintf(address, sizeof(address), "127.0.0.1:%s", argv[3]);
		c.page_server = sock_connect(address, 0, 5000, &e);
		c.layout = (enum ps_layout)atoi(argv[4]);
	}
	if (c.images_dir < 0 || c.work_dir < 0 || (argc == 5 && c.page_server < 0) || lazy_daemon_run(&c, &e) < 0) {
		fprintf(stderr, "lazy_feeder: %s\n", e.text);
		return 1;
	}
	return 0;
}
