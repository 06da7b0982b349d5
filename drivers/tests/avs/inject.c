/*
 * Pin 0 injects frames into its circuit, pin 1 is told of each request that came round, pin 2 is the sink of both.
 */
#include "avs.h"

enum { RETURNS = 4, ROUNDS = 12 };

static struct {
    PVOID Data, Context;
    ULONG Size;
    PMDL Mdl;
    NTSTATUS Status;
} Back[RETURNS];
static LONG Returned, Completed, Filled;
static ULONG SeenCount;
static UCHAR Seen[RETURNS];
static LONGLONG SeenTime;
static KEVENT AllBack, AllRound;
static UCHAR First[FRAME], Second[FRAME];
static PMDL SecondMdl;

static NTSTATUS OnSinkProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (SeenCount < RETURNS && lead->StreamHeader->DataUsed) {
            Seen[SeenCount++] = *(PUCHAR)lead->OffsetIn.Data;
            SeenTime = lead->StreamHeader->PresentationTime.Time;
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static NTSTATUS OnSourceProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (Filled == ROUNDS) {
            KsStreamPointerUnlock(lead, FALSE);
            break;
        }
        Filled++;
        lead->StreamHeader->DataUsed = 1;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static void NTAPI OnReturn(PKSPIN Pin, PVOID Data, ULONG Size, PMDL Mdl, PVOID Context, NTSTATUS Status)
{
    LONG at = InterlockedIncrement(&Returned) - 1;
    if (at < RETURNS) {
        Back[at].Data = Data;
        Back[at].Size = Size;
        Back[at].Mdl = Mdl;
        Back[at].Context = Context;
        Back[at].Status = Status;
    }
    if (at == 1)
        KeSetEvent(&AllBack, IO_NO_INCREMENT, FALSE);
}

static void NTAPI OnRound(PKSPIN Pin, PIRP Irp)
{
    if (Pin->Id == 1 && Irp && Irp->IoStatus.Status == STATUS_SUCCESS && InterlockedIncrement(&Completed) == ROUNDS)
        KeSetEvent(&AllRound, IO_NO_INCREMENT, FALSE);
}

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    KeInitializeEvent(&AllBack, NotificationEvent, FALSE);
    KeInitializeEvent(&AllRound, NotificationEvent, FALSE);
    Returned = Completed = Filled = 0;
    SeenCount = 0;
    if (Pin->Id == 0)
        KsPinRegisterFrameReturnCallback(Pin, OnReturn);
    else
        KsPinRegisterIrpCompletionCallback(Pin, OnRound);
    return STATUS_SUCCESS;
}

static const char *Refused(PKSPIN Pin)
{
    CHECK(KsPinSubmitFrame(Pin, First, FRAME, NULL, NULL) == STATUS_INVALID_DEVICE_STATE);
    return NULL;
}

static const char *Submit(PKSPIN Pin)
{
    KSSTREAM_HEADER header = {0};

    RtlFillMemory(First, FRAME, 0x11);
    RtlFillMemory(Second, FRAME, 0x22);
    SecondMdl = IoAllocateMdl(Second, FRAME, FALSE, FALSE, NULL);
    CHECK(SecondMdl);
    MmBuildMdlForNonPagedPool(SecondMdl);
    CHECK(KsPinSubmitFrame(Pin, NULL, FRAME, NULL, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(KsPinSubmitFrame(Pin, First, 0, NULL, NULL) == STATUS_INVALID_PARAMETER);
    header.Size = sizeof(header);
    header.DataUsed = FRAME / 2;
    header.PresentationTime.Time = 4321;
    header.PresentationTime.Numerator = header.PresentationTime.Denominator = 1;
    CHECK(NT_SUCCESS(KsPinSubmitFrame(Pin, First, FRAME, NULL, &AllBack)));
    CHECK(NT_SUCCESS(KsPinSubmitFrameMdl(Pin, SecondMdl, &header, &AllRound)));
    KeWaitForSingleObject(&AllBack, Executive, KernelMode, FALSE, NULL);
    CHECK(Back[0].Data == First && Back[0].Size == FRAME && Back[0].Mdl == NULL && Back[0].Context == &AllBack);
    CHECK(Back[1].Mdl == SecondMdl && Back[1].Context == &AllRound);
    CHECK(Back[0].Status == STATUS_SUCCESS && Back[1].Status == STATUS_SUCCESS);
    CHECK(SeenCount == 2 && Seen[0] == 0x11 && Seen[1] == 0x22 && SeenTime == 4321);
    IoFreeMdl(SecondMdl);
    return NULL;
}

static const char *Round(PKSPIN Pin)
{
    CHECK(KsPinSubmitFrame(Pin, First, FRAME, NULL, NULL) == STATUS_INVALID_DEVICE_REQUEST);
    KeWaitForSingleObject(&AllRound, Executive, KernelMode, FALSE, NULL);
    CHECK(Filled == ROUNDS && Completed >= ROUNDS);
    return NULL;
}

DEFINE_CHECKS(Refused, Submit, Round);
static const KSPIN_DISPATCH InjectDispatch = {.Create = OnCreate};
static const KSPIN_DISPATCH WatchDispatch = {.Create = OnCreate, .Process = OnSourceProcess};
static const KSPIN_DISPATCH SinkDispatch = {.Process = OnSinkProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&InjectDispatch, KSPIN_DATAFLOW_OUT, 0, 1),
    PIN(&WatchDispatch, KSPIN_DATAFLOW_OUT, 0, 1),
    PIN(&SinkDispatch, KSPIN_DATAFLOW_IN, 0, 1),
};
DEFINE_DRIVER(0x02, NULL, Pins, NULL)
