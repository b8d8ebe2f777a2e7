/* flood BYTES [text]: so many bytes to stdout as fast as they are taken, zeros
 * or lines of 79 letters. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (256 << 10)

static char piece[PIECE];

int main(int argc, char **argv)
{
	unsigned long long left = argc > 1 ? strtoull(argv[1], 0, 10) : 0;

	if (argc > 2) {
		memset(piece, 'x', PIECE);
		for (int i = 79; i < PIECE; i += 80)
			piece[i] = '\n';
	}
	while (left > 0) {
		ssize_t n = write(1, piece, left < PIECE ? left : PIECE);
		if (n < 0)
			return 1;
		left -= n;
	}
	return 0;
}
