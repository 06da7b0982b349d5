/*
 * Publishes camera profiles: with -DCAMERA for a filter of KSCATEGORY_VIDEO_CAMERA, with -DBY_REFERENCE for one that is told
 * from others by its reference GUID. It takes both, and the GUID.
 */
#ifdef CAMERA
#define OWN_CATEGORIES \
    {CATEGORY_CAPTURE_GUID}, {0xe5323777, 0xf976, 0x4f5b, {0x9b, 0x55, 0xb9, 0x46, 0x99, 0xc4, 0x6e, 0x44}}
#endif
/* KSFILTER_FLAG_PRIORITIZE_REFERENCEGUID of ks.h, which these headers lack. */
#ifdef BY_REFERENCE
#define OWN_FILTER_FLAGS 0x00000010
#endif
#include "avs.h"

/* KSDEVICE_PROFILE_INFO of ksmedia.h, which these headers lack. */
typedef struct {
    UINT32 Type, Size;
    GUID ProfileId;
    UINT32 Index, PinCount;
    PVOID Pins;
    UINT32 Reserved, ConcurrencyCount;
    PVOID Concurrency;
} PROFILE;

NTSTATUS NTAPI KsInitializeDeviceProfile(PKSFILTERFACTORY FilterFactory);
NTSTATUS NTAPI KsPublishDeviceProfile(PKSFILTERFACTORY FilterFactory, const PROFILE *Profile);
NTSTATUS NTAPI KsPersistDeviceProfile(PKSFILTERFACTORY FilterFactory);

static UCHAR Pins[8];
static const PROFILE Good = {1, sizeof(PROFILE), {1, 2, 3, {4}}, 0, 1, Pins, 0, 0, NULL};

/* Its like with a name for a reference has no profiles. */
static const char *Nameless(PKSFILTERFACTORY Like)
{
    static KSFILTER_DESCRIPTOR named;
    PKSDEVICE device = KsFilterFactoryGetDevice(Like);
    PKSFILTERFACTORY factory;
    NTSTATUS status, initialized = STATUS_SUCCESS;

    named = *Like->FilterDescriptor;
    named.ReferenceGuid = NULL;
    KsAcquireDevice(device);
    status = KsCreateFilterFactory(device->FunctionalDeviceObject, &named, L"named", NULL, 0, NULL, NULL, &factory);
    if (NT_SUCCESS(status))
        initialized = KsInitializeDeviceProfile(factory);
    KsReleaseDevice(device);
    CHECK(NT_SUCCESS(status));
    CHECK(initialized == STATUS_INVALID_PARAMETER);
    return NULL;
}

/* 0: a camera, once, in this order. */
static const char *Publishes(PKSPIN Pin)
{
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(KsPinGetParentFilter(Pin));
    PROFILE bad;

    CHECK(sizeof(PROFILE) == 56);
    CHECK(KsPersistDeviceProfile(factory) == STATUS_INVALID_DEVICE_REQUEST);
    CHECK(KsPublishDeviceProfile(factory, &Good) == STATUS_INVALID_DEVICE_REQUEST);
    CHECK(KsInitializeDeviceProfile(factory) == STATUS_SUCCESS);
    CHECK(KsPublishDeviceProfile(factory, &Good) == STATUS_SUCCESS);
    CHECK(KsPublishDeviceProfile(factory, &Good) == STATUS_SUCCESS);
    CHECK(KsPublishDeviceProfile(factory, NULL) == STATUS_INVALID_PARAMETER);
#define REFUSED(member, value) \
    bad = Good; \
    bad.member = (value); \
    CHECK(KsPublishDeviceProfile(factory, &bad) == STATUS_INVALID_PARAMETER)
    REFUSED(Type, 0);
    REFUSED(Type, 2);
    REFUSED(Size, sizeof(PROFILE) - 1);
    REFUSED(PinCount, 0);
    REFUSED(Pins, NULL);
    REFUSED(Reserved, 1);
    REFUSED(ConcurrencyCount, 1);
    REFUSED(ConcurrencyCount, 2);
    REFUSED(Concurrency, Pins);
    bad = Good;
    bad.ConcurrencyCount = 1;
    bad.Concurrency = Pins;
    CHECK(KsPublishDeviceProfile(factory, &bad) == STATUS_SUCCESS);
    CHECK(KsPersistDeviceProfile(factory) == STATUS_SUCCESS);
    return Nameless(factory);
}

/* 1: something else. */
static const char *Refuses(PKSPIN Pin)
{
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(KsPinGetParentFilter(Pin));

    CHECK(KsInitializeDeviceProfile(factory) == STATUS_INVALID_PARAMETER);
    CHECK(KsPublishDeviceProfile(factory, &Good) == STATUS_INVALID_PARAMETER);
    CHECK(KsPersistDeviceProfile(factory) == STATUS_INVALID_PARAMETER);
    return NULL;
}

/* 2: a camera that does not say that it goes by its reference GUID. */
static const char *NotByReference(PKSPIN Pin)
{
    PKSFILTERFACTORY factory = KsFilterGetParentFilterFactory(KsPinGetParentFilter(Pin));

    CHECK(KsInitializeDeviceProfile(factory) == STATUS_INVALID_PARAMETER);
    CHECK(KsPublishDeviceProfile(factory, &Good) == STATUS_INVALID_DEVICE_REQUEST);
    CHECK(KsPersistDeviceProfile(factory) == STATUS_INVALID_DEVICE_REQUEST);
    return NULL;
}

DEFINE_CHECKS(Publishes, Refuses, NotByReference);
static const KSPIN_DISPATCH PinDispatch = {0};
static const KSPIN_DESCRIPTOR_EX PinDescriptors[] = {PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, 0, 1)};
DEFINE_DRIVER(0x23, NULL, PinDescriptors, NULL)
