/* The sample camera, but it forgets what its pins allocate. */
#include "video.h"

#define KsAddItemToObjectBag(Bag, Item, Free) STATUS_SUCCESS
#include "../../synthcam/synthcam.c"
