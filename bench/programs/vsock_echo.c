/* vsock_echo PORT: takes connections one after another and sends back what
 * comes. The floor of a round trip into a VM. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

int main(int argc, char **argv)
{
	struct sockaddr_vm here = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
	char piece[4096];
	ssize_t n;

	here.svm_port = argc > 1 ? atoi(argv[1]) : 5000;
	if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) ||
	    listen(listener, 4))
		return 1;
	while ((peer = accept(listener, 0, 0)) >= 0) {
		while ((n = read(peer, piece, sizeof piece)) > 0)
			if (write(peer, piece, n) != n)
				break;
		close(peer);
	}
	return 0;
}
