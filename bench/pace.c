/*
 * pace PERIOD_US COUNT: a loop that sleeps until one instant after the other, a period apart. What it tells as the time
 * that passed is how late the thread woke at the 99th of each hundred: work 1.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <errno.h>

static int ascending(const void *left, const void *right)
{
    long long a = *(const long long *) left, b = *(const long long *) right;

    return (a > b) - (a < b);
}

int main(int argc, char **argv)
{
    long long period_ns = number(argc, argv, 1, "microseconds of a period") * 1000;
    long long count = number(argc, argv, 2, "periods");
    long long *late_ns = malloc((size_t) count * sizeof *late_ns);
    struct reading start = now(), end;
    long long due_ns = start.wall_ns;

    if (!late_ns)
        return 1;
    for (long long i = 0; i < count; i++) {
        struct timespec due, woke;

        due_ns += period_ns;
        due.tv_sec = due_ns / 1000000000LL;
        due.tv_nsec = due_ns % 1000000000LL;
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
            ;
        clock_gettime(CLOCK_MONOTONIC, &woke);
        late_ns[i] = woke.tv_sec * 1000000000LL + woke.tv_nsec - due_ns;
    }
    end = now();
    qsort(late_ns, (size_t) count, sizeof *late_ns, ascending);
    end.wall_ns = start.wall_ns + late_ns[(count * 99 - 1) / 100];
    report("pace", 1, start, end);
    free(late_ns);
    return 0;
}
