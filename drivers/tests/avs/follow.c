/*
 * Pin 0 goes by the clock that its client named, and checks it against the machine's. Pin 1 has the clock of the class driver,
 * pin 2 one of the driver's own, which is half as fast as the machine. Pin 3 keeps the file object of the clock that its
 * client named, and hears of the times of that.
 */
#include "avs.h"

enum { INTERVAL = 10000, MARKS = 3 };

static const GUID StreamSet = {STATIC_KSPROPSETID_Stream};
static const GUID ClockSet = {STATIC_KSPROPSETID_Clock};
static const GUID ClockEvents = {STATIC_KSEVENTSETID_Clock};

static PIKSREFERENCECLOCK Clock;
static LONGLONG LastTime;

static LONGLONG Machine(void)
{
    LARGE_INTEGER frequency, now = KeQueryPerformanceCounter(&frequency);
    return now.QuadPart * (10000000 / frequency.QuadPart);
}

/* Of a clock that counts the machine's time: reads agree with each other and with that, at this level. */
static const char *Agrees(void)
{
    LONGLONG before = Machine(), first, second, systems[2], physical, after;

    first = Clock->lpVtbl->GetCorrelatedTime(Clock, &systems[0]);
    second = Clock->lpVtbl->GetCorrelatedTime(Clock, &systems[1]);
    physical = Clock->lpVtbl->GetPhysicalTime(Clock);
    after = Machine();
    CHECK(before <= systems[0] && systems[0] <= systems[1] && systems[1] <= physical && physical <= after);
    CHECK(second - first == systems[1] - systems[0]);
    LastTime = Clock->lpVtbl->GetTime(Clock);
    CHECK(LastTime >= second && LastTime - second <= Machine() - before);
    return NULL;
}

/* 0: the clock stands in STOP. */
static const char *Stopped(PKSPIN Pin)
{
    KSSTATE state = KSSTATE_RUN;
    KSRESOLUTION resolution = {0, 7};

    CHECK(NT_SUCCESS(KsPinGetReferenceClockInterface(Pin, &Clock)));
    CHECK(NT_SUCCESS(Clock->lpVtbl->GetState(Clock, &state)) && state == KSSTATE_STOP);
    CHECK(Clock->lpVtbl->GetTime(Clock) == 0);
    CHECK(NT_SUCCESS(Clock->lpVtbl->GetResolution(Clock, &resolution)));
    CHECK(resolution.Granularity == 1 && resolution.Error == 0);
    return NULL;
}

/* 1: it runs. The client asks until this process knows. */
static const char *Runs(PKSPIN Pin)
{
    const char *wrong;
    KSSTATE state;
    KIRQL old;

    CHECK(NT_SUCCESS(Clock->lpVtbl->GetState(Clock, &state)) && state == KSSTATE_RUN);
    wrong = Agrees();
    if (wrong)
        return wrong;
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    wrong = Agrees();
    KeLowerIrql(old);
    return wrong;
}

/* 2: it stands in PAUSE, and shows no less than it did. */
static const char *Paused(PKSPIN Pin)
{
    LONGLONG time = Clock->lpVtbl->GetTime(Clock);
    KSSTATE state;

    CHECK(NT_SUCCESS(Clock->lpVtbl->GetState(Clock, &state)) && state == KSSTATE_PAUSE);
    CHECK(time >= LastTime && Clock->lpVtbl->GetTime(Clock) == time);
    LastTime = time;
    return NULL;
}

/* 3: the process of the clock has ended. */
static const char *Lost(PKSPIN Pin)
{
    PIKSREFERENCECLOCK other;
    KSSTATE state = KSSTATE_RUN;
    KSRESOLUTION resolution;

    CHECK(Clock->lpVtbl->GetState(Clock, &state) == STATUS_DEVICE_REMOVED && state == KSSTATE_STOP);
    CHECK(Clock->lpVtbl->GetResolution(Clock, &resolution) == STATUS_DEVICE_REMOVED);
    CHECK(Clock->lpVtbl->GetTime(Clock) == 0);
    CHECK(KsPinGetReferenceClockInterface(Pin, &other) == STATUS_DEVICE_REMOVED);
    return NULL;
}

/* 4: the driver wants it no more. */
static const char *Release(PKSPIN Pin)
{
    CHECK(Clock->lpVtbl->Release(Clock) == 0);
    return NULL;
}

/* 5: the driver's own clock of pin 2 is read there where a thread may wait, and counted on where it may not. */
static const char *Half(PKSPIN Pin)
{
    LONGLONG before, time, after;
    KIRQL old;

    CHECK(NT_SUCCESS(KsPinGetReferenceClockInterface(Pin, &Clock)));
    before = Machine();
    time = Clock->lpVtbl->GetTime(Clock);
    after = Machine();
    CHECK(before / 2 <= time && time <= after / 2);
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    after = Clock->lpVtbl->GetTime(Clock);
    KeLowerIrql(old);
    CHECK(after >= time);
    CHECK(Clock->lpVtbl->Release(Clock) == 0);
    return NULL;
}

static PFILE_OBJECT Master;

static NTSTATUS OnSetMaster(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PFILE_OBJECT named = NULL;

    if (*(HANDLE *)Data) {
        NTSTATUS status = ObReferenceObjectByHandle(*(HANDLE *)Data, FILE_READ_DATA, *IoFileObjectType,
                                                    Irp->RequestorMode, (PVOID *)&named, NULL);
        if (!NT_SUCCESS(status))
            return status;
    }
    if (Master)
        ObDereferenceObject(Master);
    Master = named;
    return STATUS_SUCCESS;
}

/* 6: requests to the clock, and its marks. */
static const char *Marks(PKSPIN Pin)
{
    KSPROPERTY what = {{{ClockSet, KSPROPERTY_CLOCK_CORRELATEDTIME, KSPROPERTY_TYPE_GET}}};
    KSEVENT event = {{{ClockEvents, KSEVENT_CLOCK_INTERVAL_MARK, KSEVENT_TYPE_ENABLE}}};
    KSEVENT_TIME_INTERVAL interval = {{0}};
    KSEVENT_TIME_MARK mark = {{0}};
    KSCORRELATED_TIME time;
    KEVENT ticks, once;
    ULONG returned, i;
    LONGLONG before = Machine();

    CHECK(NT_SUCCESS(KsSynchronousIoControlDevice(Master, KernelMode, IOCTL_KS_PROPERTY, &what, sizeof(what), &time,
                                                  sizeof(time), &returned)));
    CHECK(returned == sizeof(time) && before <= time.SystemTime && time.SystemTime <= Machine());
    KeInitializeEvent(&ticks, SynchronizationEvent, FALSE);
    KeInitializeEvent(&once, NotificationEvent, FALSE);
    interval.EventData.NotificationType = mark.EventData.NotificationType = KSEVENTF_EVENT_OBJECT;
    interval.EventData.EventObject.Event = &ticks;
    interval.TimeBase = time.Time;
    interval.Interval = INTERVAL;
    CHECK(NT_SUCCESS(KsSynchronousIoControlDevice(Master, KernelMode, IOCTL_KS_ENABLE_EVENT, &event, sizeof(event),
                                                  &interval, sizeof(interval), &returned)));
    for (i = 0; i < MARKS; i++)
        KeWaitForSingleObject(&ticks, Executive, KernelMode, FALSE, NULL);
    CHECK(NT_SUCCESS(KsSynchronousIoControlDevice(Master, KernelMode, IOCTL_KS_DISABLE_EVENT, &interval,
                                                  sizeof(interval), NULL, 0, &returned)));
    event.Id = KSEVENT_CLOCK_POSITION_MARK;
    event.Flags = KSEVENT_TYPE_ONESHOT;
    mark.EventData.EventObject.Event = &once;
    mark.MarkTime = time.Time + (MARKS + 1) * INTERVAL;
    CHECK(NT_SUCCESS(KsSynchronousIoControlDevice(Master, KernelMode, IOCTL_KS_ENABLE_EVENT, &event, sizeof(event),
                                                  &mark, sizeof(mark), &returned)));
    KeWaitForSingleObject(&once, Executive, KernelMode, FALSE, NULL);
    CHECK(NT_SUCCESS(KsSynchronousIoControlDevice(Master, KernelMode, IOCTL_KS_PROPERTY, &what, sizeof(what), &time,
                                                  sizeof(time), &returned)));
    CHECK(time.Time >= mark.MarkTime && Machine() - before >= (MARKS - 1) * INTERVAL);
    return NULL;
}

DEFINE_CHECKS(Stopped, Runs, Paused, Lost, Release, Half, Marks);

static const KSPROPERTY_ITEM StreamItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_STREAM_MASTERCLOCK, NULL, sizeof(KSPROPERTY), sizeof(HANDLE), OnSetMaster, NULL, 0,
                           NULL, NULL, 0),
};
static const KSPROPERTY_SET KeepingSets[] = {
    {&StreamSet, SIZEOF_ARRAY(StreamItems), StreamItems, 0, NULL},
    {&CheckSet, SIZEOF_ARRAY(Checks), CheckItems, 0, NULL},
};
static const KSAUTOMATION_TABLE Keeping = {SIZEOF_ARRAY(KeepingSets), sizeof(KSPROPERTY_ITEM), KeepingSets};

static LONGLONG FASTCALL OnCorrelatedTime(PKSPIN Pin, PLONGLONG SystemTime)
{
    *SystemTime = Machine();
    return *SystemTime / 2;
}

static const KSCLOCK_DISPATCH ClockDispatch = {NULL, NULL, OnCorrelatedTime, NULL};
static const KSPIN_DISPATCH WithClock = {.Clock = &ClockDispatch};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(NULL, KSPIN_DATAFLOW_IN, 0, 1),
    PIN(NULL, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_IMPLEMENT_CLOCK, 1),
    PIN(&WithClock, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_IMPLEMENT_CLOCK, 1),
    {
        .AutomationTable = &Keeping,
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = KSPIN_DATAFLOW_IN,
                          .Communication = KSPIN_COMMUNICATION_BOTH},
        .InstancesPossible = 1,
    },
};
DEFINE_DRIVER(0x0f, NULL, Pins, NULL)
