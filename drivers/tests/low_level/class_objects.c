/* The default clock and the default allocator, behind file objects of a driver that has no AVStream. */
#include "low_level.h"

static const GUID ClockSet = {0xDF12A4C0, 0xAC17, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID ClockEvents = {0x364D8E20, 0x62C7, 0x11CF, {0xA5, 0xD6, 0x28, 0xDB, 0x04, 0xC1, 0x00, 0x00}};
static const GUID AllocatorSet = {0xcf6e4342, 0xec87, 0x11cf, {0xa1, 0x30, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}};
static const GUID AllocatorMethods = {0xcf6e4341, 0xec87, 0x11cf, {0xa1, 0x30, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}};
static const GUID AllocatorEvents = {0x75d95571, 0x073c, 0x11d0, {0xa1, 0x61, 0x00, 0x20, 0xaf, 0xd1, 0x56, 0xe4}};

enum { FRAME = 100 };

static KSDEVICE_HEADER Header;
static PKSDEFAULTCLOCK Clock;
static NTSTATUS (*Make)(PIRP irp);

static NTSTATUS NTAPI OnCreate(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = Make(irp);
    /* The routines of ks.sys neither complete the request nor give it a status. */
    if (irp->IoStatus.Status != STATUS_NOT_SUPPORTED)
        status = STATUS_UNSUCCESSFUL;
    irp->IoStatus.Status = status;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static WCHAR ClockClass[] = KSSTRING_Clock, AllocatorClass[] = KSSTRING_Allocator;
static KSOBJECT_CREATE_ITEM Items[] = {
    DEFINE_KSCREATE_ITEM(OnCreate, ClockClass, NULL),
    DEFINE_KSCREATE_ITEM(OnCreate, AllocatorClass, NULL),
};

static const char *Start(NTSTATUS (*make)(PIRP))
{
    CHECK(MakeDevice(NULL) == STATUS_SUCCESS);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_CREATE) == STATUS_SUCCESS);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_CLOSE) == STATUS_SUCCESS);
    CHECK(KsSetMajorFunctionHandler(&Driver, IRP_MJ_DEVICE_CONTROL) == STATUS_SUCCESS);
    CHECK(KsAllocateDeviceHeader(&Header, RTL_NUMBER_OF(Items), Items) == STATUS_SUCCESS);
    *(KSDEVICE_HEADER *)Device->DeviceExtension = Header;
    Make = make;
    PASS;
}

static void Stop(void)
{
    KsFreeDeviceHeader(Header);
    DropDevice();
}

struct opened {
    FILE_OBJECT File;
    struct {
        WCHAR Class[39];
        UCHAR Parameters[64];
    } Name;
};

static NTSTATUS Open(struct opened *opened, PCWSTR class, const void *parameters, ULONG bytes)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    IO_SECURITY_CONTEXT security = {NULL, NULL, FILE_READ_DATA, 0};
    NTSTATUS status;
    RtlZeroMemory(opened, sizeof *opened);
    opened->File.Type = 5;
    opened->File.DeviceObject = Device;
    RtlCopyMemory(opened->Name.Class, class, sizeof opened->Name.Class);
    opened->Name.Class[38] = L'\\';
    RtlCopyMemory(opened->Name.Parameters, parameters, bytes);
    opened->File.FileName.Buffer = (PWSTR)&opened->Name;
    opened->File.FileName.Length = opened->File.FileName.MaximumLength = (USHORT)(sizeof opened->Name.Class + bytes);
    irp->RequestorMode = KernelMode;
    status = SendMajor(irp, IRP_MJ_CREATE, 0, &opened->File, &security);
    if (irp->AssociatedIrp.SystemBuffer)
        ExFreePool(irp->AssociatedIrp.SystemBuffer);
    IoFreeIrp(irp);
    return status;
}

static NTSTATUS Close(struct opened *opened)
{
    return Major(IRP_MJ_CLOSE, 0, &opened->File, NULL);
}

static NTSTATUS SendTo(struct opened *opened, struct asked *asked, ULONG code, PVOID in, ULONG in_bytes, PVOID out,
                       ULONG out_bytes)
{
    KeInitializeEvent(&asked->Done, NotificationEvent, FALSE);
    asked->Status.Status = STATUS_UNSUCCESSFUL;
    asked->Irp = IoBuildDeviceIoControlRequest(code, Device, in, in_bytes, out, out_bytes, FALSE, &asked->Done,
                                               &asked->Status);
    if (!asked->Irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    IoGetNextIrpStackLocation(asked->Irp)->FileObject = &opened->File;
    return IofCallDriver(Device, asked->Irp);
}

static NTSTATUS Ended(struct asked *asked)
{
    KeWaitForSingleObject(&asked->Done, Executive, KernelMode, FALSE, NULL);
    return asked->Status.Status;
}

static NTSTATUS On(struct opened *opened, ULONG code, const GUID *set, ULONG id, ULONG flags, PVOID data, ULONG bytes)
{
    KSIDENTIFIER request;
    struct asked asked;
    Identify(&request, set, id, flags);
    SendTo(opened, &asked, code, &request, sizeof request, data, bytes);
    return Ended(&asked);
}

static LONGLONG TimeOf(struct opened *opened)
{
    LONGLONG time = -1;
    On(opened, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_TIME, KSPROPERTY_TYPE_GET, &time, sizeof time);
    return time;
}

static NTSTATUS MakeClock(PIRP irp)
{
    PKSCLOCK_CREATE create;
    NTSTATUS status = KsValidateClockCreateRequest(irp, &create);
    return NT_SUCCESS(status) ? KsCreateDefaultClock(irp, Clock) : status;
}

TEST(KsAllocateDefaultClock)
{
    struct opened first, second;
    KSCLOCK_FUNCTIONTABLE table;
    KSEVENT_TIME_MARK mark = {{0}, 0};
    KSCLOCK_CREATE create = {0};
    KSSTATE state = KSSTATE_ACQUIRE;
    KEVENT event;
    LONGLONG system, before;
    LARGE_INTEGER wait;
    struct asked asked;
    const char *failed = Start(MakeClock);
    if (failed)
        return failed;
    CHECK(KsAllocateDefaultClock(&Clock) == STATUS_SUCCESS && Clock);
    CHECK(KsGetDefaultClockState(Clock) == KSSTATE_STOP && KsGetDefaultClockTime(Clock) == 0);
    create.CreateFlags = 1;
    CHECK(Open(&first, ClockClass, &create, sizeof create) == STATUS_INVALID_PARAMETER && !first.File.FsContext);
    create.CreateFlags = 0;
    CHECK(Open(&first, ClockClass, &create, sizeof create) == STATUS_SUCCESS && first.File.FsContext);
    CHECK(KsQueryObjectCreateItem(*(KSOBJECT_HEADER *)first.File.FsContext) == &Items[0]);
    CHECK(Open(&second, ClockClass, &create, sizeof create) == STATUS_SUCCESS);
    /* What the owner sets all of its file objects show. */
    KsSetDefaultClockTime(Clock, 5000);
    CHECK(KsGetDefaultClockTime(Clock) == 5000 && TimeOf(&first) == 5000 && TimeOf(&second) == 5000);
    KsSetDefaultClockState(Clock, KSSTATE_RUN);
    CHECK(KsGetDefaultClockState(Clock) == KSSTATE_RUN);
    CHECK(On(&second, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_STATE, KSPROPERTY_TYPE_GET, &state, sizeof state)
              == STATUS_SUCCESS && state == KSSTATE_RUN);
    wait.QuadPart = -20000;
    KeDelayExecutionThread(KernelMode, FALSE, &wait);
    before = KsGetDefaultClockTime(Clock);
    CHECK(before >= 25000 && TimeOf(&second) >= before);
    /* The routines of a clock know a driver's file object too. */
    CHECK(On(&first, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_FUNCTIONTABLE, KSPROPERTY_TYPE_GET, &table,
             sizeof table - 1) == STATUS_BUFFER_TOO_SMALL);
    CHECK(On(&first, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_FUNCTIONTABLE, KSPROPERTY_TYPE_GET, &table,
             sizeof table) == STATUS_SUCCESS);
    CHECK(table.GetTime(&first.File) >= before && table.GetCorrelatedTime(&second.File, &system) >= before);
    /* A mark of time, by an event of the kernel's. */
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    mark.EventData.NotificationType = KSEVENTF_EVENT_OBJECT;
    mark.EventData.EventObject.Event = &event;
    mark.MarkTime = KsGetDefaultClockTime(Clock) + 100000;
    CHECK(On(&first, IOCTL_KS_ENABLE_EVENT, &ClockEvents, KSEVENT_CLOCK_POSITION_MARK, KSEVENT_TYPE_ENABLE, &mark,
             sizeof mark) == STATUS_SUCCESS);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
    CHECK(KsGetDefaultClockTime(Clock) >= mark.MarkTime);
    CHECK(On(&second, IOCTL_KS_DISABLE_EVENT, &ClockEvents, 0, 0, NULL, 0) == STATUS_UNSUCCESSFUL);
    SendTo(&first, &asked, IOCTL_KS_DISABLE_EVENT, &mark, sizeof(KSEVENTDATA), NULL, 0);
    CHECK(Ended(&asked) == STATUS_SUCCESS);
    /* Each file object goes by itself, and the clock with none of them. */
    CHECK(Close(&first) == STATUS_SUCCESS && !first.File.FsContext);
    CHECK(TimeOf(&first) == -1 && TimeOf(&second) >= mark.MarkTime);
    KsSetDefaultClockState(Clock, KSSTATE_STOP);
    CHECK(TimeOf(&second) == 0);
    CHECK(Close(&second) == STATUS_SUCCESS);
    CHECK(KsGetDefaultClockTime(Clock) == 0);
    KsFreeDefaultClock(Clock);
    Stop();
    PASS;
}
SAME(KsCreateDefaultClock, KsAllocateDefaultClock)
SAME(KsFreeDefaultClock, KsAllocateDefaultClock)
SAME(KsGetDefaultClockState, KsAllocateDefaultClock)
SAME(KsSetDefaultClockState, KsAllocateDefaultClock)
SAME(KsGetDefaultClockTime, KsAllocateDefaultClock)
SAME(KsSetDefaultClockTime, KsAllocateDefaultClock)

/* A clock whose time and timer are the driver's. */
static struct own {
    LONGLONG Time;
    LONGLONG Due;
    PKDPC Dpc;
    ULONG Sets, Cancels;
} Own;

static LONGLONG FASTCALL OwnTime(PVOID context, PLONGLONG system)
{
    *system = 777;
    return ((struct own *)context)->Time;
}

static BOOLEAN OwnSetTimer(PVOID context, PKTIMER timer, LARGE_INTEGER due, PKDPC dpc)
{
    struct own *own = context;
    own->Sets++;
    own->Due = due.QuadPart;
    own->Dpc = dpc;
    return FALSE;
}

static BOOLEAN OwnCancelTimer(PVOID context, PKTIMER timer)
{
    ((struct own *)context)->Cancels++;
    return FALSE;
}

TEST(KsAllocateDefaultClockEx)
{
    KSRESOLUTION resolution = {50, 0}, shown = {0, 0};
    KSCORRELATED_TIME correlated = {0, 0};
    KSEVENT_TIME_MARK mark = {{0}, 0};
    KSCLOCK_CREATE create = {0};
    struct opened opened;
    struct asked asked;
    KEVENT event;
    ULONG cancels;
    const char *failed = Start(MakeClock);
    if (failed)
        return failed;
    Clock = NULL;
    CHECK(KsAllocateDefaultClockEx(&Clock, &Own, OwnSetTimer, NULL, OwnTime, NULL, 0) == STATUS_INVALID_PARAMETER);
    CHECK(KsAllocateDefaultClockEx(&Clock, NULL, NULL, NULL, NULL, &resolution, 0) == STATUS_INVALID_PARAMETER);
    CHECK(KsAllocateDefaultClockEx(&Clock, NULL, NULL, NULL, NULL, NULL, 1) == STATUS_INVALID_PARAMETER && !Clock);
    RtlZeroMemory(&Own, sizeof Own);
    Own.Time = 4000;
    CHECK(KsAllocateDefaultClockEx(&Clock, &Own, OwnSetTimer, OwnCancelTimer, OwnTime, &resolution, 0) == STATUS_SUCCESS);
    CHECK(Open(&opened, ClockClass, &create, sizeof create) == STATUS_SUCCESS);
    CHECK(KsGetDefaultClockTime(Clock) == 4000 && TimeOf(&opened) == 4000);
    CHECK(On(&opened, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_CORRELATEDTIME, KSPROPERTY_TYPE_GET, &correlated,
             sizeof correlated) == STATUS_SUCCESS && correlated.Time == 4000 && correlated.SystemTime == 777);
    CHECK(On(&opened, IOCTL_KS_PROPERTY, &ClockSet, KSPROPERTY_CLOCK_RESOLUTION, KSPROPERTY_TYPE_GET, &shown,
             sizeof shown) == STATUS_SUCCESS && shown.Granularity == 50);
    KsSetDefaultClockState(Clock, KSSTATE_RUN);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    mark.EventData.NotificationType = KSEVENTF_EVENT_OBJECT;
    mark.EventData.EventObject.Event = &event;
    mark.MarkTime = 10000;
    CHECK(On(&opened, IOCTL_KS_ENABLE_EVENT, &ClockEvents, KSEVENT_CLOCK_POSITION_MARK, KSEVENT_TYPE_ENABLE, &mark,
             sizeof mark) == STATUS_SUCCESS);
    CHECK(Own.Sets == 1 && Own.Due == -6000 && Own.Dpc && !KeReadStateEvent(&event));
    /* The driver's timer says when to look; its time says whether the mark is reached. */
    Own.Time = 7000;
    KeInsertQueueDpc(Own.Dpc, NULL, NULL);
    KeFlushQueuedDpcs();
    CHECK(!KeReadStateEvent(&event) && Own.Sets == 2 && Own.Due == -3000);
    Own.Time = 10000;
    KeInsertQueueDpc(Own.Dpc, NULL, NULL);
    KeFlushQueuedDpcs();
    CHECK(KeReadStateEvent(&event));
    mark.MarkTime = 20000;
    SendTo(&opened, &asked, IOCTL_KS_DISABLE_EVENT, &mark, sizeof(KSEVENTDATA), NULL, 0);
    CHECK(Ended(&asked) == STATUS_SUCCESS);
    CHECK(On(&opened, IOCTL_KS_ENABLE_EVENT, &ClockEvents, KSEVENT_CLOCK_POSITION_MARK, KSEVENT_TYPE_ENABLE, &mark,
             sizeof mark) == STATUS_SUCCESS && Own.Due == -10000);
    cancels = Own.Cancels;
    KsSetDefaultClockState(Clock, KSSTATE_PAUSE);
    CHECK(Own.Cancels > cancels);
    CHECK(Close(&opened) == STATUS_SUCCESS);
    KsFreeDefaultClock(Clock);
    Stop();
    PASS;
}

/* Allocators ---------------------------------------------------------------------------------------------------- */

static struct frames {
    ULONG Size, Made, Freed, Deleted;
    PVOID Initial;
    NTSTATUS Answer;
} Frames;

static PVOID OwnAllocate(PVOID context)
{
    struct frames *frames = context;
    frames->Made++;
    return ExAllocatePoolWithTag(NonPagedPool, frames->Size, 0x6d61724f);
}

static VOID OwnFree(PVOID context, PVOID frame)
{
    ((struct frames *)context)->Freed++;
    ExFreePool(frame);
}

static NTSTATUS OwnInitialize(PVOID initial, PKSALLOCATOR_FRAMING framing, PVOID *context)
{
    Frames.Initial = initial;
    Frames.Size = framing->FrameSize;
    *context = &Frames;
    return Frames.Answer;
}

static VOID OwnDelete(PVOID context)
{
    ((struct frames *)context)->Deleted++;
}

static NTSTATUS MakeAllocator(PIRP irp)
{
    PKSALLOCATOR_FRAMING framing;
    NTSTATUS status = KsValidateAllocatorCreateRequest(irp, &framing);
    return NT_SUCCESS(status) ? KsCreateDefaultAllocator(irp) : status;
}

static NTSTATUS MakeOwnAllocator(PIRP irp)
{
    return KsCreateDefaultAllocatorEx(irp, &Own, OwnAllocate, OwnFree, OwnInitialize, OwnDelete);
}

static NTSTATUS MakeWrongAllocator(PIRP irp)
{
    if (KsCreateDefaultAllocatorEx(irp, &Own, NULL, NULL, NULL, NULL) != STATUS_INVALID_PARAMETER)
        return STATUS_UNSUCCESSFUL;
    if (KsCreateDefaultAllocatorEx(irp, NULL, OwnAllocate, NULL, NULL, NULL) != STATUS_INVALID_PARAMETER)
        return STATUS_UNSUCCESSFUL;
    return KsCreateDefaultAllocatorEx(irp, NULL, NULL, OwnFree, NULL, NULL);
}

static NTSTATUS Alloc(struct opened *opened, PVOID *frame)
{
    return On(opened, IOCTL_KS_METHOD, &AllocatorMethods, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE, frame,
              sizeof *frame);
}

static NTSTATUS Free(struct opened *opened, PVOID frame)
{
    return On(opened, IOCTL_KS_METHOD, &AllocatorMethods, KSMETHOD_STREAMALLOCATOR_FREE, KSMETHOD_TYPE_READ, &frame,
              sizeof frame);
}

static KSALLOCATOR_FRAMING Framing(void)
{
    KSALLOCATOR_FRAMING framing;
    RtlZeroMemory(&framing, sizeof framing);
    framing.OptionsFlags = KSALLOCATOR_OPTIONF_SYSTEM_MEMORY;
    framing.Frames = 2;
    framing.FrameSize = FRAME;
    framing.FileAlignment = FILE_64_BYTE_ALIGNMENT;
    return framing;
}

TEST(KsCreateDefaultAllocator)
{
    KSALLOCATOR_FRAMING framing = Framing();
    KSSTREAMALLOCATOR_FUNCTIONTABLE table;
    KSSTREAMALLOCATOR_STATUS status;
    PVOID first = NULL, second = NULL, third = NULL;
    KSEVENTDATA data = {0};
    KSIDENTIFIER request;
    struct opened opened;
    struct asked asked;
    KEVENT event;
    KIRQL level;
    const char *failed = Start(MakeAllocator);
    if (failed)
        return failed;
    framing.FrameSize = 0;
    CHECK(Open(&opened, AllocatorClass, &framing, sizeof framing) == STATUS_INVALID_PARAMETER);
    framing = Framing();
    CHECK(Open(&opened, AllocatorClass, &framing, sizeof framing) == STATUS_SUCCESS);
    CHECK(KsQueryObjectCreateItem(*(KSOBJECT_HEADER *)opened.File.FsContext) == &Items[1]);
    CHECK(Alloc(&opened, &first) == STATUS_SUCCESS && first && (ULONG_PTR)first % 64 == 0);
    CHECK(Alloc(&opened, &second) == STATUS_SUCCESS && second && second != first);
    RtlFillMemory(first, FRAME, 0xA5);
    CHECK(On(&opened, IOCTL_KS_PROPERTY, &AllocatorSet, KSPROPERTY_STREAMALLOCATOR_STATUS, KSPROPERTY_TYPE_GET, &status,
             sizeof status) == STATUS_SUCCESS);
    CHECK(status.AllocatedFrames == 2 && status.Framing.FrameSize == FRAME && status.Framing.Frames == 2);
    /* The third waits for one of the others. */
    Identify(&request, &AllocatorMethods, KSMETHOD_STREAMALLOCATOR_ALLOC, KSMETHOD_TYPE_WRITE);
    CHECK(SendTo(&opened, &asked, IOCTL_KS_METHOD, &request, sizeof request, &third, sizeof third) == STATUS_PENDING);
    CHECK(!KeReadStateEvent(&asked.Done));
    CHECK(Free(&opened, first) == STATUS_SUCCESS && Ended(&asked) == STATUS_SUCCESS && third == first);
    CHECK(Free(&opened, &opened) == STATUS_INVALID_PARAMETER);
    /* One that waits can be cancelled, and nobody else is. */
    CHECK(SendTo(&opened, &asked, IOCTL_KS_METHOD, &request, sizeof request, &first, sizeof first) == STATUS_PENDING);
    CHECK(IoCancelIrp(asked.Irp) && Ended(&asked) == STATUS_CANCELLED);
    /* Whoever likes is told of a frame that is free. */
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    data.NotificationType = KSEVENTF_EVENT_OBJECT;
    data.EventObject.Event = &event;
    CHECK(On(&opened, IOCTL_KS_ENABLE_EVENT, &AllocatorEvents, KSEVENT_STREAMALLOCATOR_FREEFRAME, KSEVENT_TYPE_ENABLE,
             &data, sizeof data) == STATUS_SUCCESS && !KeReadStateEvent(&event));
    CHECK(On(&opened, IOCTL_KS_PROPERTY, &AllocatorSet, KSPROPERTY_STREAMALLOCATOR_FUNCTIONTABLE, KSPROPERTY_TYPE_GET,
             &table, sizeof table) == STATUS_SUCCESS);
    KeRaiseIrql(DISPATCH_LEVEL, &level);
    table.FreeFrame(&opened.File, second);
    CHECK(table.AllocateFrame(&opened.File, &first) == STATUS_SUCCESS && first == second);
    CHECK(table.AllocateFrame(&opened.File, &second) != STATUS_SUCCESS && !second);
    KeLowerIrql(level);
    CHECK(KeReadStateEvent(&event));
    CHECK(Close(&opened) == STATUS_SUCCESS && !opened.File.FsContext);
    Stop();
    PASS;
}

TEST(KsCreateDefaultAllocatorEx)
{
    KSALLOCATOR_FRAMING framing = Framing();
    PVOID first = NULL, second = NULL;
    struct opened opened;
    const char *failed = Start(MakeWrongAllocator);
    if (failed)
        return failed;
    CHECK(Open(&opened, AllocatorClass, &framing, sizeof framing) == STATUS_INVALID_PARAMETER);
    Make = MakeOwnAllocator;
    RtlZeroMemory(&Frames, sizeof Frames);
    Frames.Answer = STATUS_DEVICE_BUSY;
    CHECK(Open(&opened, AllocatorClass, &framing, sizeof framing) == STATUS_DEVICE_BUSY && !opened.File.FsContext);
    Frames.Answer = STATUS_SUCCESS;
    CHECK(Open(&opened, AllocatorClass, &framing, sizeof framing) == STATUS_SUCCESS);
    CHECK(Frames.Initial == &Own && Frames.Size == FRAME && !Frames.Made && !Frames.Deleted);
    CHECK(Alloc(&opened, &first) == STATUS_SUCCESS && Frames.Made == 1);
    RtlFillMemory(first, FRAME, 1);
    CHECK(Alloc(&opened, &second) == STATUS_SUCCESS && Frames.Made == 2 && second != first);
    /* A freed frame is given out again before another is made; all go when the allocator does. */
    CHECK(Free(&opened, first) == STATUS_SUCCESS && Frames.Freed == 0);
    CHECK(Alloc(&opened, &second) == STATUS_SUCCESS && second == first && Frames.Made == 2);
    CHECK(Close(&opened) == STATUS_SUCCESS);
    CHECK(Frames.Freed == 2 && Frames.Deleted == 1);
    Stop();
    PASS;
}
