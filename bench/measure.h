/* What every peer program shares: its numbers from the command line, and the line of JSON it ends with. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/* A reading of both clocks: the processor time of the whole process, user and system, and the time that passed. */
struct reading {
    long long cpu_ns;
    long long wall_ns;
};

static inline struct reading now(void)
{
    struct rusage used;
    struct timespec wall;
    struct reading reading;

    getrusage(RUSAGE_SELF, &used);
    clock_gettime(CLOCK_MONOTONIC, &wall);
    reading.cpu_ns = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL
                     + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
    reading.wall_ns = wall.tv_sec * 1000000000LL + wall.tv_nsec;
    return reading;
}

static inline void report(const char *name, long long work, struct reading start, struct reading end)
{
    printf("{\"case\":\"%s\",\"work\":%lld,\"cpu_ns\":%lld,\"wall_ns\":%lld}\n",
           name, work, end.cpu_ns - start.cpu_ns, end.wall_ns - start.wall_ns);
}

/* The positive number at this place of the command line; the program ends with 2 when it is not there. */
static inline long long number(int argc, char **argv, int place, const char *name)
{
    long long value = place < argc ? atoll(argv[place]) : 0;

    if (value <= 0) {
        fprintf(stderr, "%s: argument %d must be the number of %s\n", argv[0], place, name);
        exit(2);
    }
    return value;
}

#endif
