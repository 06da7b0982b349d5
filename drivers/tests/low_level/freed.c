/* What a driver without AVStream has freed, and uses again. Each routine breaks one rule. */
#include "low_level.h"

#define BREAKS(name) \
    __declspec(dllexport) void breaks_##name(void); \
    void breaks_##name(void)

BREAKS(a_clock_that_was_freed)
{
    PKSDEFAULTCLOCK clock;
    if (KsAllocateDefaultClock(&clock) == STATUS_SUCCESS) {
        KsFreeDefaultClock(clock);
        KsSetDefaultClockTime(clock, 5);
    }
}

BREAKS(an_object_header_that_was_freed)
{
    static KSDISPATCH_TABLE table;
    KSOBJECT_HEADER header;
    if (KsAllocateObjectHeader(&header, 0, NULL, NULL, &table) == STATUS_SUCCESS) {
        KsFreeObjectHeader(header);
        KsQueryObjectAccessMask(header);
    }
}

static LIST_ENTRY Events;
static PKSEVENT_ENTRY Entry;

/* Enables for later, as a driver that has to ask its hardware first. */
static NTSTATUS NTAPI OnAdd(PIRP irp, PKSEVENTDATA data, PKSEVENT_ENTRY entry)
{
    Entry = entry;
    return STATUS_SUCCESS;
}

static const KSEVENT_ITEM Items[] = {{0, sizeof(KSEVENTDATA), 0, OnAdd, NULL, NULL}};
static const KSEVENT_SET Sets[] = {{&SetA, 1, Items}};

static NTSTATUS Control(PDEVICE_OBJECT device, PIRP irp)
{
    return KsEnableEvent(irp, 1, Sets, &Events, KSEVENTS_NONE, NULL);
}

BREAKS(an_event_that_was_discarded)
{
    KSEVENTDATA data = {0};
    KSIDENTIFIER request;
    KEVENT event;
    if (MakeDevice(Control) != STATUS_SUCCESS)
        return;
    InitializeListHead(&Events);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    data.NotificationType = KSEVENTF_EVENT_OBJECT;
    data.EventObject.Event = &event;
    Identify(&request, &SetA, 0, KSEVENT_TYPE_ENABLE);
    if (Ask(IOCTL_KS_ENABLE_EVENT, &request, sizeof request, &data, sizeof data, NULL) == STATUS_SUCCESS) {
        KsGenerateEvent(Entry);
        if (KeReadStateEvent(&event))
            KsDiscardEvent(Entry);
        KsGenerateEvent(Entry);
    }
    DropDevice();
}
