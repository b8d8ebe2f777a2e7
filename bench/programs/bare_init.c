/* An init that does what must be done before anybody can be talked to, and
 * nothing else: loads the modules of the initramfs, listens on vsock, rings the
 * host's doorbell, sends back what comes. The floor of a boot. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define AGENT_PORT 1000
#define DOORBELL_PORT 1001

static void load_modules(void)
{
	char name[128], path[160];
	FILE *list = fopen("/modules/load", "re");

	while (list && fgets(name, sizeof name, list)) {
		int fd;
		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof path, "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			syscall(SYS_finit_module, fd, "", 0);
			close(fd);
		}
	}
	if (list)
		fclose(list);
}

static void ring(void)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = DOORBELL_PORT,
	};
	int bell = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (bell >= 0)
		connect(bell, (struct sockaddr *)&host, sizeof host);
}

int main(void)
{
	struct sockaddr_vm here = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = AGENT_PORT,
	};
	char piece[4096];
	int listener, peer;
	ssize_t n;

	load_modules();
	listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener >= 0 && !bind(listener, (struct sockaddr *)&here, sizeof here) &&
	    !listen(listener, 4)) {
		ring();
		while ((peer = accept(listener, 0, 0)) >= 0) {
			while ((n = read(peer, piece, sizeof piece)) > 0)
				if (write(peer, piece, n) != n)
					break;
			close(peer);
		}
	}
	for (;;)
		pause();
}
