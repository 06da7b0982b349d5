/* futex_pair COUNT: two processes hand a word back and forth in shared memory, asleep while it is the other's turn. */
#define _GNU_SOURCE
#include "measure.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Whose turn it is: 0 for the parent, 1 for the child. */
static _Atomic unsigned *turn;

static void hand_over(unsigned to)
{
    atomic_store(turn, to);
    syscall(SYS_futex, turn, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_for(unsigned mine)
{
    while (atomic_load(turn) != mine)
        syscall(SYS_futex, turn, FUTEX_WAIT, !mine, NULL, NULL, 0);
}

static void play(unsigned mine, long long count)
{
    for (long long i = 0; i < count; i++) {
        wait_for(mine);
        hand_over(!mine);
    }
}

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "round trips");
    struct reading start, end;
    struct rusage there;
    pid_t child;

    turn = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (turn == MAP_FAILED)
        return 1;
    child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        play(1, 1000 + count);
        _exit(0);
    }
    /* A few first, so that both are there. What they cost the child is in its sum, a thousandth or less. */
    play(0, 1000);
    start = now();
    play(0, count);
    end = now();
    if (waitpid(child, NULL, 0) != child || getrusage(RUSAGE_CHILDREN, &there))
        return 1;
    end.cpu_ns += (there.ru_utime.tv_sec + there.ru_stime.tv_sec) * 1000000000LL
                  + (there.ru_utime.tv_usec + there.ru_stime.tv_usec) * 1000LL;
    report("futex_pair", count, start, end);
    return 0;
}
