/*
 * pw_cycle COUNT: cycles of a PipeWire graph of two processes, a driving source here and a sink there, one after the
 * other: each is triggered when the last one is done. The daemon is one of its own, without a session manager. The
 * processor time is that of all three.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <dirent.h>
#include <pipewire/pipewire.h>
#include <signal.h>
#include <spa/param/video/format-utils.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char configuration[] =
    "context.properties = { core.daemon = true core.name = pipewire-0 }\n"
    "context.spa-libs = { support.* = support/libspa-support }\n"
    "context.modules = [ { name = libpipewire-module-protocol-native } { name = libpipewire-module-client-node }\n"
    "  { name = libpipewire-module-access } { name = libpipewire-module-adapter }\n"
    "  { name = libpipewire-module-link-factory } ]\n";
static const char client_configuration[] =
    "context.properties = { }\n"
    "context.spa-libs = { support.* = support/libspa-support }\n"
    "context.modules = [ { name = libpipewire-module-protocol-native } { name = libpipewire-module-client-node }\n"
    "  { name = libpipewire-module-adapter } ]\n";

enum { WARM = 1000, WIDTH = 64, HEIGHT = 16 };

static struct pw_main_loop *loop;
static struct pw_core *core;
static struct pw_stream *stream;
static struct pw_proxy *connection;
static pid_t others[2];
static long long count, cycles, frames;
static struct reading start;

/* Nanoseconds of processor time of all threads of a process. */
static long long used_by(pid_t process)
{
    char path[64], thread[400];
    long long sum = 0, used;
    struct dirent *entry;
    DIR *dir;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/task", process);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        snprintf(thread, sizeof(thread), "%s/%s/schedstat", path, entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(thread, "r");
        if (file && fscanf(file, "%lld", &used) == 1)
            sum += used;
        if (file)
            fclose(file);
    }
    if (dir)
        closedir(dir);
    return sum;
}

static struct reading now_of_all(void)
{
    struct reading reading = now();
    reading.cpu_ns += used_by(others[0]) + used_by(others[1]);
    return reading;
}

static void on_process(void *data)
{
    struct pw_buffer *buffer = pw_stream_dequeue_buffer(stream);

    (void)data;
    if (!buffer)
        return;
    frames++;
    buffer->buffer->datas[0].chunk->offset = 0;
    buffer->buffer->datas[0].chunk->stride = WIDTH * 4;
    buffer->buffer->datas[0].chunk->size = WIDTH * HEIGHT * 4;
    pw_stream_queue_buffer(stream, buffer);
}

static void on_done(void *data)
{
    (void)data;
    if (cycles == WARM)
        start = now_of_all();
    if (cycles++ == WARM + count) {
        if (frames < count) {
            fprintf(stderr, "pw_cycle: %lld frames in %lld cycles\n", frames, cycles);
            exit(1);
        }
        report("pw_cycle", count, start, now_of_all());
        pw_main_loop_quit(loop);
    } else {
        pw_stream_trigger_process(stream);
    }
}

static void on_state(void *data, enum pw_stream_state old, enum pw_stream_state state, const char *error)
{
    (void)data;
    (void)old;
    if (getenv("PW_CYCLE_DEBUG"))
        fprintf(stderr, "%d: state %s %s\n", getpid(), pw_stream_state_as_string(state), error ? error : "");
    if (state == PW_STREAM_STATE_ERROR)
        exit(1);
    if (state == PW_STREAM_STATE_STREAMING && core)
        pw_stream_trigger_process(stream);
}

static const struct pw_stream_events source_events = {
    PW_VERSION_STREAM_EVENTS, .process = on_process, .state_changed = on_state, .trigger_done = on_done};
static const struct pw_stream_events sink_events = {
    PW_VERSION_STREAM_EVENTS, .process = on_process, .state_changed = on_state};

static void make_stream(const char *name, enum pw_direction direction, const struct pw_stream_events *events,
                        enum pw_stream_flags flags)
{
    uint8_t room[1024];
    struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(room, sizeof(room));
    const struct spa_pod *format = spa_format_video_raw_build(
        &builder, SPA_PARAM_EnumFormat,
        &SPA_VIDEO_INFO_RAW_INIT(.format = SPA_VIDEO_FORMAT_BGRx, .size = SPA_RECTANGLE(WIDTH, HEIGHT),
                                 .framerate = SPA_FRACTION(25, 1)));

    stream = pw_stream_new_simple(pw_main_loop_get_loop(loop), name,
                                  pw_properties_new(PW_KEY_NODE_NAME, name, PW_KEY_MEDIA_TYPE, "Video",
                                                    PW_KEY_CONFIG_NAME, getenv("PW_CYCLE_CLIENT"), NULL),
                                  events, NULL);
    if (!stream || pw_stream_connect(stream, direction, PW_ID_ANY, flags | PW_STREAM_FLAG_MAP_BUFFERS, &format, 1) < 0)
        exit(1);
}

/* The sink is there: link it. */
static void on_global(void *data, uint32_t id, uint32_t permissions, const char *type, uint32_t version,
                      const struct spa_dict *dict)
{
    const char *name = dict ? spa_dict_lookup(dict, PW_KEY_PORT_NAME) : NULL;
    static int ports;

    (void)data;
    (void)permissions;
    (void)version;
    if (getenv("PW_CYCLE_DEBUG"))
        fprintf(stderr, "global %u %s %s\n", id, type, name ? name : "");
    if (strcmp(type, PW_TYPE_INTERFACE_Port) || ++ports < 2 || connection)
        return;
    connection = pw_core_create_object(core, "link-factory", PW_TYPE_INTERFACE_Link, PW_VERSION_LINK,
                                 &SPA_DICT_INIT_ARRAY(((struct spa_dict_item[]){
                                     {PW_KEY_LINK_OUTPUT_NODE, "pw-cycle-source"},
                                     {PW_KEY_LINK_INPUT_NODE, "pw-cycle-sink"},
                                 })),
                                 0);
}

static const struct pw_registry_events registry_events = {PW_VERSION_REGISTRY_EVENTS, .global = on_global};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        exit(1);
}

/* A process that ends with this one. */
static pid_t child(void)
{
    pid_t process = fork();
    if (process < 0)
        exit(1);
    if (process == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return process;
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/pw-cycle-XXXXXX", daemon[64], client[64], socket[64], lock[64];
    struct spa_hook listener;

    count = number(argc, argv, 1, "cycles");
    if (!mkdtemp(dir))
        return 1;
    snprintf(daemon, sizeof(daemon), "%s/daemon.conf", dir);
    snprintf(client, sizeof(client), "%s/client.conf", dir);
    snprintf(socket, sizeof(socket), "%s/pipewire-0", dir);
    snprintf(lock, sizeof(lock), "%s/pipewire-0.lock", dir);
    write_file(daemon, configuration);
    write_file(client, client_configuration);
    setenv("PIPEWIRE_RUNTIME_DIR", dir, 1);
    setenv("PW_CYCLE_CLIENT", client, 1);
    others[0] = child();
    if (others[0] == 0) {
        execlp("pipewire", "pipewire", "-c", daemon, NULL);
        _exit(1);
    }
    for (int tries = 0; access(socket, F_OK) && tries < 500; tries++)
        usleep(10000);
    others[1] = child();
    pw_init(&argc, &argv);
    loop = pw_main_loop_new(NULL);
    if (others[1] == 0) {
        make_stream("pw-cycle-sink", PW_DIRECTION_INPUT, &sink_events, PW_STREAM_FLAG_RT_PROCESS);
        pw_main_loop_run(loop);
        _exit(0);
    }
    make_stream("pw-cycle-source", PW_DIRECTION_OUTPUT, &source_events,
                PW_STREAM_FLAG_DRIVER | PW_STREAM_FLAG_RT_PROCESS);
    core = pw_stream_get_core(stream);
    pw_registry_add_listener(pw_core_get_registry(core, PW_VERSION_REGISTRY, 0), &listener, &registry_events, NULL);
    pw_main_loop_run(loop);
    for (int index = 0; index < 2; index++) {
        kill(others[index], SIGKILL);
        waitpid(others[index], NULL, 0);
    }
    unlink(daemon);
    unlink(client);
    unlink(socket);
    unlink(lock);
    rmdir(dir);
    return cycles > WARM + count ? 0 : 1;
}
