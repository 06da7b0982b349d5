/*
 * What the drivers of this folder share: tables of checks that a client runs by properties, and descriptors to fill.
 *
 * Property N of CheckSet on a pin runs Checks[N] and answers with what failed, or with nothing.
 */
#ifndef USERKS_AVS_H
#define USERKS_AVS_H

#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E60} */
static const GUID CheckSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x60}};

enum { ANSWER = 200, FRAME = 64 };
#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return TEXT(__LINE__) ": " #condition; \
    } while (0)

typedef const char *(*CHECK_ROUTINE)(PKSPIN Pin);
static const CHECK_ROUTINE Checks[];

static NTSTATUS RunCheck(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    const char *wrong = Checks[Request->Id](KsGetPinFromIrp(Irp));
    ULONG i;
    for (i = 0; wrong && wrong[i] && i < ANSWER; i++)
        ((PCHAR)Data)[i] = wrong[i];
    Irp->IoStatus.Information = i;
    return STATUS_SUCCESS;
}

#define CHECK_ITEM(n) DEFINE_KSPROPERTY_ITEM(n, RunCheck, sizeof(KSPROPERTY), ANSWER, NULL, NULL, 0, NULL, NULL, 0)
static const KSPROPERTY_ITEM CheckItems[] = {
    CHECK_ITEM(0), CHECK_ITEM(1), CHECK_ITEM(2), CHECK_ITEM(3), CHECK_ITEM(4), CHECK_ITEM(5), CHECK_ITEM(6), CHECK_ITEM(7),
};

static const KSDATARANGE Range = BYTES_RANGE(FRAME);
static const PKSDATARANGE Ranges[] = {(PKSDATARANGE)&Range};
#ifndef OWN_CATEGORIES
#define OWN_CATEGORIES {CATEGORY_CAPTURE_GUID}
#endif
static const GUID Categories[] = {OWN_CATEGORIES};

#ifndef OWN_FILTER_FLAGS
#define OWN_FILTER_FLAGS 0
#endif

/* The checks of the table, and a driver of one filter. */
#define DEFINE_CHECKS(...) \
    static const CHECK_ROUTINE Checks[] = {__VA_ARGS__}; \
    static const KSPROPERTY_SET CheckSets[] = { \
        {&CheckSet, sizeof((CHECK_ROUTINE[]){__VA_ARGS__}) / sizeof(CHECK_ROUTINE), CheckItems, 0, NULL}}; \
    static const KSAUTOMATION_TABLE Automation = {1, sizeof(KSPROPERTY_ITEM), CheckSets}

#define PIN(dispatch, flow, flags, count) \
    { \
        .Dispatch = (dispatch), .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .Flags = (flags), .InstancesPossible = (count), \
    }

#define DEFINE_DRIVER(number, filter_dispatch, pins, device_dispatch) \
    static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, (number)}}; \
    static const KSFILTER_DESCRIPTOR FilterDescriptor = { \
        .Dispatch = (filter_dispatch), \
        .Version = KSFILTER_DESCRIPTOR_VERSION, \
        .Flags = OWN_FILTER_FLAGS, \
        .ReferenceGuid = &Reference, \
        .PinDescriptorsCount = SIZEOF_ARRAY(pins), \
        .PinDescriptorSize = sizeof(pins[0]), \
        .PinDescriptors = pins, \
        .CategoriesCount = SIZEOF_ARRAY(Categories), \
        .Categories = Categories, \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR), \
    }; \
    static const KSFILTER_DESCRIPTOR *const FilterDescriptors[] = {&FilterDescriptor}; \
    static const KSDEVICE_DESCRIPTOR DeviceDescriptor = { \
        (device_dispatch), 1, FilterDescriptors, KSDEVICE_DESCRIPTOR_VERSION}; \
    NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath) \
    { \
        return KsInitializeDriver(DriverObject, RegistryPath, &DeviceDescriptor); \
    }

#endif
