/* spawns N PROGRAM: starts it N times with both outputs on pipes, drains them,
 * waits; prints the median and the 99th percentile in nanoseconds. The floor of
 * an exec where a benchmark on the host cannot reach. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;
	return (x > y) - (x < y);
}

static void drain(int out, int err)
{
	struct pollfd fds[2] = { { out, POLLIN, 0 }, { err, POLLIN, 0 } };
	char scrap[4096];
	int open = 2;

	while (open > 0 && poll(fds, 2, -1) > 0)
		for (int i = 0; i < 2; i++)
			if (fds[i].revents && read(fds[i].fd, scrap, sizeof scrap) <= 0) {
				close(fds[i].fd);
				fds[i].fd = -1;
				open--;
			}
}

static int spawn_one(char **argv)
{
	posix_spawn_file_actions_t actions;
	int out[2], err[2], status, failed;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	failed = posix_spawn(&pid, argv[0], &actions, 0, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	if (failed)
		return -1;
	drain(out[0], err[0]);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[1]) : 0;
	long long *took = calloc(n > 0 ? n : 1, sizeof *took);

	if (n <= 0 || !took)
		return 64;
	for (int i = 0; i < n; i++) {
		long long begun = now();
		if (spawn_one(argv + 2) != 0)
			return 1;
		took[i] = now() - begun;
	}
	qsort(took, n, sizeof *took, by_value);
	printf("%lld %lld\n", took[n / 2], took[(long long)n * 99 / 100]);
	return 0;
}
