/* gst_setup COUNT: makes, links, starts, stops and frees fakesrc ! identity ! fakesink, one buffer each. */
#include "measure.h"

#include <gst/gst.h>

static void turn(void)
{
    GstElement *pipeline = gst_pipeline_new(NULL);
    GstElement *source = gst_element_factory_make("fakesrc", NULL);
    GstElement *identity = gst_element_factory_make("identity", NULL);
    GstElement *sink = gst_element_factory_make("fakesink", NULL);

    if (!source || !identity || !sink) {
        fprintf(stderr, "gst_setup: an element is missing\n");
        exit(1);
    }
    g_object_set(source, "num-buffers", 1, NULL);
    g_object_set(sink, "sync", FALSE, "enable-last-sample", FALSE, NULL);
    gst_bin_add_many(GST_BIN(pipeline), source, identity, sink, NULL);
    if (!gst_element_link_many(source, identity, sink, NULL))
        exit(1);
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    if (gst_element_get_state(pipeline, NULL, NULL, GST_CLOCK_TIME_NONE) != GST_STATE_CHANGE_SUCCESS) {
        fprintf(stderr, "gst_setup: the pipeline does not play\n");
        exit(1);
    }
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
}

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "pipelines");
    struct reading start;

    gst_init(NULL, NULL);
    turn();
    start = now();
    for (long long i = 0; i < count; i++)
        turn();
    report("gst_setup", count, start, now());
    return 0;
}
