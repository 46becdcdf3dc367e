/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/log.h"

static char dir[64];
static pid_t maker;

static void remove_dir(void)
{
	char command[96];

	if (getpid() != maker)
		return;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays\n", dir);
}

const char *certs_dir(void)
{
	char command[160];

	if (dir[0])
		return dir;
	snprintf(dir, sizeof(dir), "/tmp/dray-certs.XXXXXX");
	maker = getpid();
	if (!mkdtemp(dir))
		exit(1);
	atexit(remove_dir);
	if (system("command -v openssl > /dev/null") != 0) {
		puts("skipped: openssl is not installed");
		exit(77);
	}
	snprintf(command, sizeof(command), "tests/lib/make-certs %s", dir);
	if (system(command) != 0)
		exit(1);
	return dir;
}

const char *certs_path(const char *name, const char *suffix)
{
	static char ring[64][128];
	static unsigned next;
	char *text = ring[next++ % 64];

	snprintf(text, sizeof(ring[0]), "%s/%s%s", certs_dir(), name, suffix);
	return text;
}

struct tls_config certs_of(const char *name, const char *ca)
{
	return (struct tls_config){ .on = true, .cacert = certs_path(ca, ".pem"), .cert = certs_path(name, ".pem"),
				    .key = certs_path(name, ".key") };
}

int certs_setup(void **state)
{
	(void)state;
	log_set_level(LOG_ERROR);
	return certs_dir() ? 0 : -1;
}
