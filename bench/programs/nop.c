/* Ends at once: what is left of its time is the making of a process.
 * No libc (gcc -nostdlib -static). */
void _start(void)
{
	__asm__ volatile("syscall" : : "a"(231 /* exit_group */), "D"(0));
	__builtin_unreachable();
}
