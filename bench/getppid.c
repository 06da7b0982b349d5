/* getppid COUNT: the cheapest trip into the kernel and back. */
#include "measure.h"

#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "calls");
    struct reading start = now();

    for (long long i = 0; i < count; i++)
        syscall(SYS_getppid);
    report("getppid", count, start, now());
    return 0;
}
