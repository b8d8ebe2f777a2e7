/* A small real program: a static libc, a line on stdout, a line on stderr. */
#include <stdio.h>

int main(void)
{
	puts("hello");
	fputs("world\n", stderr);
	return 0;
}
