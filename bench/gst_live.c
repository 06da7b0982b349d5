/*
 * gst_live GRAPHS MILLISECONDS: so many live graphs of audiotestsrc ! fakesink in one process, a buffer of 10 ms at a time,
 * measured for so long once all of them play. Beside the two clocks it tells the resident bytes of a graph, the threads of
 * the process, and how often they were switched. A frame counts when its sink has it: of more graphs than the processors
 * bear, other numbers come than they are meant to have.
 */
#include "measure.h"

#include <dirent.h>
#include <gst/gst.h>
#include <string.h>

/* The number behind a word at the start of a line of a file; 0 when it is not there. */
static long long field(const char *path, const char *word)
{
    char line[256];
    long long value = 0;
    FILE *file = fopen(path, "r");

    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, word, strlen(word)))
            value = atoll(line + strlen(word));
    if (file)
        fclose(file);
    return value;
}

struct threads {
    long long count;
    long long switches;
};

static struct threads threads(void)
{
    struct threads sum = { 0, 0 };
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");

    while (tasks && (entry = readdir(tasks))) {
        char path[512];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        sum.count++;
        sum.switches += field(path, "voluntary_ctxt_switches:") + field(path, "nonvoluntary_ctxt_switches:");
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static long long resident_bytes(void)
{
    return field("/proc/self/status", "VmRSS:") * 1024;
}

/* How many buffers all sinks have had. */
static long long rendered(GstElement **all, long long graphs)
{
    long long sum = 0;

    for (long long i = 0; i < graphs; i++) {
        GstElement *sink = gst_bin_get_by_name(GST_BIN(all[i]), "sink");
        GstStructure *stats = NULL;
        guint64 count = 0;

        g_object_get(sink, "stats", &stats, NULL);
        if (stats && gst_structure_get_uint64(stats, "rendered", &count))
            sum += (long long) count;
        if (stats)
            gst_structure_free(stats);
        gst_object_unref(sink);
    }
    return sum;
}

int main(int argc, char **argv)
{
    long long graphs = number(argc, argv, 1, "graphs");
    long long milliseconds = number(argc, argv, 2, "milliseconds");
    GstElement **all = malloc((size_t) graphs * sizeof *all);
    long long empty;
    long long frames;
    struct threads before, after;
    struct reading start, end;

    gst_init(NULL, NULL);
    /* One graph first, so that the plugins are loaded and not counted. */
    gst_object_unref(gst_parse_launch("audiotestsrc ! fakesink", NULL));
    empty = resident_bytes();
    for (long long i = 0; i < graphs; i++) {
        all[i] = gst_parse_launch("audiotestsrc is-live=true samplesperbuffer=480 ! "
                                  "audio/x-raw,format=S16LE,rate=48000,channels=2 ! "
                                  "fakesink name=sink sync=false silent=true enable-last-sample=false", NULL);
        if (!all[i] || gst_element_set_state(all[i], GST_STATE_PAUSED) == GST_STATE_CHANGE_FAILURE) {
            fprintf(stderr, "gst_live: graph %lld does not pause\n", i);
            return 1;
        }
    }
    /* Only now: what plays would keep this thread from making the rest. */
    for (long long i = 0; i < graphs; i++)
        if (gst_element_set_state(all[i], GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE) {
            fprintf(stderr, "gst_live: graph %lld does not play\n", i);
            return 1;
        }
    g_usleep(500 * 1000);
    before = threads();
    frames = rendered(all, graphs);
    start = now();
    g_usleep((gulong) milliseconds * 1000);
    end = now();
    frames = rendered(all, graphs) - frames;
    after = threads();
    printf("{\"case\":\"gst_live\",\"work\":%lld,\"cpu_ns\":%lld,\"wall_ns\":%lld,"
           "\"resident_bytes\":%lld,\"threads\":%lld,\"switches\":%lld}\n",
           frames, end.cpu_ns - start.cpu_ns, end.wall_ns - start.wall_ns,
           (resident_bytes() - empty) / graphs, after.count, after.switches - before.switches);
    fflush(stdout);
    /* The graphs end with the process: taking a thousand of them down is not what is measured. */
    _Exit(0);
}
