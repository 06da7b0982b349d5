/* gst_stream COUNT WORDS...: runs the pipeline that the words describe to its end; COUNT buffers go through it. */
#include "measure.h"

#include <gst/gst.h>

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "buffers");
    GString *text = g_string_new(NULL);
    GError *error = NULL;
    GstElement *pipeline;
    GstMessage *message;
    struct reading start, end;

    for (int i = 2; i < argc; i++)
        g_string_append_printf(text, "%s ", argv[i]);
    gst_init(NULL, NULL);
    pipeline = gst_parse_launch(text->str, &error);
    if (!pipeline || error) {
        fprintf(stderr, "gst_stream: %s: %s\n", text->str, error ? error->message : "no pipeline");
        return 1;
    }
    gst_element_set_state(pipeline, GST_STATE_PAUSED);
    if (gst_element_get_state(pipeline, NULL, NULL, GST_CLOCK_TIME_NONE) != GST_STATE_CHANGE_SUCCESS) {
        fprintf(stderr, "gst_stream: %s does not start\n", text->str);
        return 1;
    }
    start = now();
    gst_element_set_state(pipeline, GST_STATE_PLAYING);
    message = gst_bus_timed_pop_filtered(gst_element_get_bus(pipeline), GST_CLOCK_TIME_NONE,
                                         GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
    end = now();
    if (GST_MESSAGE_TYPE(message) != GST_MESSAGE_EOS) {
        fprintf(stderr, "gst_stream: %s failed\n", text->str);
        return 1;
    }
    report("gst_stream", count, start, end);
    gst_message_unref(message);
    gst_element_set_state(pipeline, GST_STATE_NULL);
    gst_object_unref(pipeline);
    return 0;
}
