/*
 * gst_tee BRANCHES BYTES BUFFERS: fakesrc ! tee, and a fakesink at each branch, without queues: one thread does it all.
 * No clock, no signals, no messages an element, no last sample, buffers of a fixed size that nobody fills.
 */
#include "measure.h"

#include <gst/gst.h>

static GstElement *make(const char *name)
{
    GstElement *element = gst_element_factory_make(name, NULL);

    if (!element) {
        fprintf(stderr, "gst_tee: no element '%s'\n", name);
        exit(1);
    }
    return element;
}

int main(int argc, char **argv)
{
    long long branches = number(argc, argv, 1, "branches");
    long long bytes = number(argc, argv, 2, "bytes a buffer");
    long long buffers = number(argc, argv, 3, "buffers");
    GstElement *pipeline, *source, *tee;
    GstMessage *message;
    struct reading start, end;

    gst_init(NULL, NULL);
    pipeline = gst_pipeline_new(NULL);
    source = make("fakesrc");
    tee = make("tee");
    gst_util_set_object_arg(G_OBJECT(source), "sizetype", "fixed");
    gst_util_set_object_arg(G_OBJECT(source), "filltype", "nothing");
    g_object_set(source, "num-buffers", (gint) buffers, "sizemax", (gint) bytes,
                 "silent", TRUE, "signal-handoffs", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, tee, NULL);
    if (!gst_element_link(source, tee))
        return 1;
    for (long long i = 0; i < branches; i++) {
        GstElement *sink = make("fakesink");

        /* Without queues the sinks may not wait for each other to preroll. */
        g_object_set(sink, "sync", FALSE, "async", FALSE, "silent", TRUE, "signal-handoffs", FALSE,
                     "enable-last-sample", FALSE, "qos", FALSE, NULL);
        gst_bin_add(GST_BIN(pipeline), sink);
        if (!gst_element_link(tee, sink))
            return 1;
    }
    gst_element_set_state(pipeline, GST_STATE_READY);
    start = now();
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(gst_element_get_bus(pipeline), GST_CLOCK_TIME_NONE,
                                         GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    end = now();
    if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS) {
        fprintf(stderr, "gst_tee: the pipeline failed\n");
        return 1;
    }
    report("gst_tee", buffers, start, end);
    gst_message_unref(message);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    return 0;
}
