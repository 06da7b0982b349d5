/* gobject_set COUNT: writing one integer property of a GStreamer element. */
#include "measure.h"

#include <gst/gst.h>

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "writes");
    GstElement *element;
    struct reading start;
    gint rate = 0;

    gst_init(NULL, NULL);
    element = gst_element_factory_make("identity", NULL);
    if (!element) {
        fprintf(stderr, "gobject_set: no element 'identity'\n");
        return 1;
    }
    start = now();
    for (long long i = 0; i < count; i++)
        g_object_set(element, "datarate", (gint) (i & 0xFFFF), NULL);
    report("gobject_set", count, start, now());
    g_object_get(element, "datarate", &rate, NULL);
    gst_object_unref(element);
    return rate == ((count - 1) & 0xFFFF) ? 0 : 1;
}
