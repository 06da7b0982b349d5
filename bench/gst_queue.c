/*
 * gst_queue DEPTH BYTES BUFFERS: fakesrc ! queue ! fakesink, two threads with at most so many buffers between them. No
 * clock, no signals, no messages an element, buffers of a fixed size that nobody fills.
 */
#include "measure.h"

#include <gst/gst.h>

static GstElement *make(const char *name)
{
    GstElement *element = gst_element_factory_make(name, NULL);

    if (!element) {
        fprintf(stderr, "gst_queue: no element '%s'\n", name);
        exit(1);
    }
    return element;
}

int main(int argc, char **argv)
{
    long long depth = number(argc, argv, 1, "buffers in the queue");
    long long bytes = number(argc, argv, 2, "bytes a buffer");
    long long buffers = number(argc, argv, 3, "buffers");
    GstElement *pipeline, *source, *queue, *sink;
    GstMessage *message;
    struct reading start, end;

    gst_init(NULL, NULL);
    pipeline = gst_pipeline_new(NULL);
    source = make("fakesrc");
    queue = make("queue");
    sink = make("fakesink");
    gst_util_set_object_arg(G_OBJECT(source), "sizetype", "fixed");
    gst_util_set_object_arg(G_OBJECT(source), "filltype", "nothing");
    g_object_set(source, "num-buffers", (gint) buffers, "sizemax", (gint) bytes,
                 "silent", TRUE, "signal-handoffs", FALSE, NULL);
    g_object_set(queue, "max-size-buffers", (guint) depth, "max-size-bytes", (guint) 0,
                 "max-size-time", (guint64) 0, "silent", TRUE, NULL);
    g_object_set(sink, "sync", FALSE, "silent", TRUE, "signal-handoffs", FALSE,
                 "enable-last-sample", FALSE, "qos", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, queue, sink, NULL);
    if (!gst_element_link_many(source, queue, sink, NULL))
        return 1;
    gst_element_set_state(pipeline, GST_STATE_READY);
    start = now();
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(gst_element_get_bus(pipeline), GST_CLOCK_TIME_NONE,
                                         GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    end = now();
    if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS) {
        fprintf(stderr, "gst_queue: the pipeline failed\n");
        return 1;
    }
    report("gst_queue", buffers, start, end);
    gst_message_unref(message);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    return 0;
}
