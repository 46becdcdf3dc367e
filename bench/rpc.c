/* SPDX-License-Identifier: Apache-2.0 */
/* rpc.c - what a request of the RPC service costs: round trips of VERSION and FEATURE_CHECK beside a bare echo over a socket of the same kind, and a
 * crowd of clients of which each has its answer before any has its second.
 *
 * rpc [--rounds 20000] [--clients 1000]: a JSON object a line (bench_json.h). The service is `dray service` as users run it; the echo is a
 * process that sends back what it receives, and does nothing else. BUILD names the build folder. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/io.h"
#include "rpc.pb-c.h"
#include "tests/lib/bench_dir.h"
#include "tests/lib/bench_json.h"

enum { ANSWER_MAX = 1024, WARM_UP = 1000, CLIENTS_MAX = 4000 };

static char directory[] = "/tmp/bench-rpc-XXXXXX";

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int connect_to(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", directory, name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail("connect");
	return fd;
}

/* ---- the two servers ---- */

static pid_t start_echo(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pid_t pid;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/echo", directory);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		fail("echo");
	pid = fork();
	if (pid == 0) {
		char buf[ANSWER_MAX];
		int client;
		ssize_t n;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while ((client = accept(fd, NULL, NULL)) >= 0) {
			while ((n = recv(client, buf, sizeof(buf), 0)) > 0 && send(client, buf, (size_t)n, MSG_NOSIGNAL) == n)
				;
			close(client);
		}
		_exit(1);
	}
	close(fd);
	return pid;
}

static pid_t start_service(void)
{
	const char *build = getenv("BUILD");
	char program[4096], path[64], byte;
	int ready[2];
	pid_t pid;

	snprintf(program, sizeof(program), "%s/dray", build ? build : "build");
	snprintf(path, sizeof(path), "%s/service", directory);
	if (pipe(ready) < 0)
		fail("pipe");
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ready[1], STDOUT_FILENO);
		execl(program, "dray", "service", "--address", path, "--log-level", "error", (char *)NULL);
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		fail("dray service");
	return pid; /* what it still says to the pipe has room */
}

static void stop(pid_t pid, const char *name)
{
	char path[64];

	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	unlink(path);
}

/* ---- round trips ---- */

static size_t request(CriuReqType type, uint8_t buf[ANSWER_MAX])
{
	CriuReq req = CRIU_REQ__INIT;
	CriuFeatures features = CRIU_FEATURES__INIT;

	features.has_mem_track = features.mem_track = true;
	req.type = type;
	req.has_keep_open = req.keep_open = true;
	if (type == CRIU_REQ_TYPE__FEATURE_CHECK)
		req.features = &features;
	return criu_req__pack(&req, buf);
}

static void ask(int fd, const uint8_t *buf, size_t len)
{
	char answer[ANSWER_MAX];

	if (send(fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len || recv(fd, answer, sizeof(answer), 0) <= 0)
		fail("round trip");
}

static double round_trip_us(const char *server, CriuReqType type, unsigned rounds)
{
	uint8_t buf[ANSWER_MAX];
	size_t len = request(type, buf);
	int fd = connect_to(server);
	uint64_t began;

	for (unsigned i = 0; i < WARM_UP; i++)
		ask(fd, buf, len);
	began = clock_us();
	for (unsigned i = 0; i < rounds; i++)
		ask(fd, buf, len);
	began = clock_us() - began;
	close(fd);
	return (double)began / rounds;
}

static void compare(CriuReqType type, const char *name, unsigned rounds)
{
	double echo = round_trip_us("echo", type, rounds), service = round_trip_us("service", type, rounds);

	bench_json("rpc_us", name, "us", service, NULL);
	bench_json("rpc_echo_us", name, "us", echo, NULL);
	bench_json("rpc_ratio", name, "x", service / echo, NULL);
}

/* ---- a crowd ---- */

static void crowd(unsigned clients)
{
	static int fd[CLIENTS_MAX];
	uint8_t buf[ANSWER_MAX];
	char answer[ANSWER_MAX];
	size_t len = request(CRIU_REQ_TYPE__VERSION, buf);
	uint64_t began = clock_us(), connected;

	for (unsigned i = 0; i < clients; i++)
		fd[i] = connect_to("service");
	connected = clock_us();
	for (unsigned i = 0; i < clients; i++)
		if (send(fd[i], buf, len, MSG_NOSIGNAL) != (ssize_t)len)
			fail("send");
	for (unsigned i = 0; i < clients; i++)
		if (recv(fd[i], answer, sizeof(answer), 0) <= 0)
			fail("not answered");
	bench_json("rpc_crowd_connect_ms", "all connect", "ms", (double)(connected - began) / 1000, NULL);
	bench_json("rpc_crowd_ms", "all are answered", "ms", (double)(clock_us() - connected) / 1000, NULL);
	for (unsigned i = 0; i < clients; i++)
		close(fd[i]);
}

static unsigned number_of(int argc, char **argv, const char *option, unsigned preset)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (strcmp(argv[i], option) == 0)
			return (unsigned)strtoul(argv[i + 1], NULL, 10);
	return preset;
}

int main(int argc, char **argv)
{
	unsigned rounds = number_of(argc, argv, "--rounds", 20000), clients = number_of(argc, argv, "--clients", 1000);
	struct rlimit r;
	pid_t echo, service;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < clients + 50) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
	if (clients > CLIENTS_MAX || !rounds)
		fail("usage");
	bench_dir_make(directory);
	echo = start_echo();
	service = start_service();
	compare(CRIU_REQ_TYPE__VERSION, "VERSION", rounds);
	compare(CRIU_REQ_TYPE__FEATURE_CHECK, "FEATURE_CHECK", rounds);
	crowd(clients);
	stop(service, "service");
	stop(echo, "echo");
	bench_dir_remove(directory);
	return 0;
}
