/* SPDX-License-Identifier: Apache-2.0 */
/* A service manager that asked hears what was said; without one nothing happens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/base/notify.h"

static int manager(const char *name, size_t len)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, name, len);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
	return fd;
}

static void hears(int fd, const char *expected)
{
	char buf[128] = "";

	assert_int_equal(recv(fd, buf, sizeof(buf) - 1, 0), (ssize_t)strlen(expected));
	assert_string_equal(buf, expected);
	close(fd);
}

static void without_a_manager_nothing_is_said(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_manager("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_manager("READY=1"), 0);
}

static void a_socket_file_hears(void **state)
{
	char dir[] = "/tmp/dray-notify-XXXXXX", path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/manager", dir);
	fd = manager(path, strlen(path));
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_manager("READY=1\nSTATUS=listening"), 1);
	hears(fd, "READY=1\nSTATUS=listening");
	unlink(path);
	assert_int_equal(notify_manager("STOPPING=1"), -ENOENT);
	rmdir(dir);
}

static void an_abstract_socket_hears(void **state)
{
	char name[64];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@dray-notify-test-%d", (int)getpid());
	setenv("NOTIFY_SOCKET", name, 1);
	name[0] = '\0';
	fd = manager(name, 1 + strlen(name + 1));
	assert_int_equal(notify_manager("READY=1"), 1);
	hears(fd, "READY=1");
}

static void other_kinds_of_addresses_are_refused(void **state)
{
	char longest[200];

	(void)state;
	setenv("NOTIFY_SOCKET", "vsock:2:99", 1);
	assert_int_equal(notify_manager("READY=1"), -EAFNOSUPPORT);
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[199] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(notify_manager("READY=1"), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_manager_nothing_is_said),
		cmocka_unit_test(a_socket_file_hears),
		cmocka_unit_test(an_abstract_socket_hears),
		cmocka_unit_test(other_kinds_of_addresses_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
