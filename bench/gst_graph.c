/*
 * gst_graph IDENTITIES BYTES BUFFERS: fakesrc ! identity... ! fakesink, as fast as GStreamer can.
 * No clock, no signals, no messages an element, no last sample, buffers of a fixed size that nobody fills.
 */
#include "measure.h"

#include <gst/gst.h>

static GstElement *make(const char *name)
{
    GstElement *element = gst_element_factory_make(name, NULL);

    if (!element) {
        fprintf(stderr, "gst_graph: no element '%s'\n", name);
        exit(1);
    }
    return element;
}

static void play(GstElement *pipeline, GstState state)
{
    gst_element_set_state(pipeline, state);
    if (gst_element_get_state(pipeline, NULL, NULL, GST_CLOCK_TIME_NONE) != GST_STATE_CHANGE_SUCCESS) {
        fprintf(stderr, "gst_graph: the pipeline does not reach %s\n", gst_element_state_get_name(state));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    long long identities = number(argc, argv, 1, "identities");
    long long bytes = number(argc, argv, 2, "bytes a buffer");
    long long buffers = number(argc, argv, 3, "buffers");
    GstElement *pipeline, *source, *last, *sink;
    GstMessage *message;
    struct reading start, end;

    gst_init(NULL, NULL);
    pipeline = gst_pipeline_new(NULL);
    source = make("fakesrc");
    sink = make("fakesink");
    gst_util_set_object_arg(G_OBJECT(source), "sizetype", "fixed");
    gst_util_set_object_arg(G_OBJECT(source), "filltype", "nothing");
    g_object_set(source, "num-buffers", (gint) buffers, "sizemax", (gint) bytes,
                 "silent", TRUE, "signal-handoffs", FALSE, NULL);
    g_object_set(sink, "sync", FALSE, "silent", TRUE, "signal-handoffs", FALSE,
                 "enable-last-sample", FALSE, "qos", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, sink, NULL);
    last = source;
    for (long long i = 0; i < identities; i++) {
        GstElement *identity = make("identity");

        g_object_set(identity, "silent", TRUE, "signal-handoffs", FALSE, NULL);
        gst_bin_add(GST_BIN(pipeline), identity);
        if (!gst_element_link(last, identity))
            return 1;
        last = identity;
    }
    if (!gst_element_link(last, sink))
        return 1;

    play(pipeline, GST_STATE_PAUSED);
    start = now();
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(gst_element_get_bus(pipeline), GST_CLOCK_TIME_NONE,
                                         GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    end = now();
    if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS) {
        fprintf(stderr, "gst_graph: the pipeline failed\n");
        return 1;
    }
    report("gst_graph", buffers, start, end);
    gst_message_unref(message);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    return 0;
}
