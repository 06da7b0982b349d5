/* gobject_get COUNT: reading one integer property of a GStreamer element. */
#include "measure.h"

#include <gst/gst.h>

int main(int argc, char **argv)
{
    long long count = number(argc, argv, 1, "reads");
    long long sum = 0;
    GstElement *element;
    struct reading start;

    gst_init(NULL, NULL);
    element = gst_element_factory_make("identity", NULL);
    if (!element) {
        fprintf(stderr, "gobject_get: no element 'identity'\n");
        return 1;
    }
    start = now();
    for (long long i = 0; i < count; i++) {
        gint rate = 0;

        g_object_get(element, "datarate", &rate, NULL);
        sum += rate;
    }
    report("gobject_get", count, start, now());
    gst_object_unref(element);
    return sum == 0 ? 0 : 1;
}
