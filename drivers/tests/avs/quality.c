/*
 * Pin 0 takes frames and complains of each to the manager that its client named, and says beforehand which formats it takes.
 * Pin 1 hears complaints, and fills frames that are as long as the rate of its stream says.
 */
#include "avs.h"

enum { PROPORTION = 500, LATE = 4000, NOMINAL = 1000, SLOWEST = 250, FASTEST = 4000, FRAME_TIME = 400000, REFUSED = 13 };

static const GUID StreamSet = {STATIC_KSPROPSETID_Stream};
static const GUID QualitySet = {STATIC_KSPROPSETID_Quality};
static const GUID ConnectionSet = {STATIC_KSPROPSETID_Connection};
static const GUID StandardInterfaces = {STATIC_KSINTERFACESETID_Standard};

static struct {
    PFILE_OBJECT Manager;
    PVOID Context;
    LONG Sent;
    NTSTATUS Last;
} Complaints;
static KSQUALITY Heard;
static KSERROR Error;
static LONG Reports, Errors, Allowed;

static void ForgetManager(void)
{
    if (Complaints.Manager)
        ObDereferenceObject(Complaints.Manager);
    Complaints.Manager = NULL;
}

/* The client names whom to complain to; NULL is nobody. */
static NTSTATUS OnSetManager(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSQUALITY_MANAGER named = (PKSQUALITY_MANAGER)Data;
    PFILE_OBJECT manager = NULL;

    if (named->QualityManager) {
        NTSTATUS status = ObReferenceObjectByHandle(named->QualityManager, FILE_WRITE_DATA, *IoFileObjectType,
                                                    Irp->RequestorMode, (PVOID *)&manager, NULL);
        if (!NT_SUCCESS(status))
            return status;
    }
    ForgetManager();
    Complaints.Manager = manager;
    Complaints.Context = named->Context;
    return STATUS_SUCCESS;
}

static void Complain(ULONG Id, PVOID Data, ULONG Bytes)
{
    KSPROPERTY property;
    ULONG returned;

    property.Set = QualitySet;
    property.Id = Id;
    property.Flags = KSPROPERTY_TYPE_SET;
    Complaints.Last = KsSynchronousIoControlDevice(Complaints.Manager, KernelMode, IOCTL_KS_PROPERTY, &property,
                                                   sizeof(property), Data, Bytes, &returned);
    if (NT_SUCCESS(Complaints.Last))
        InterlockedIncrement(&Complaints.Sent);
}

static NTSTATUS OnTake(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (lead->StreamHeader->DataUsed && Complaints.Manager) {
            KSQUALITY quality = {Complaints.Context, PROPORTION, LATE};
            Complain(KSPROPERTY_QUALITY_REPORT, &quality, sizeof(quality));
        }
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

static LONG FormatsSet;

static NTSTATUS OnPropose(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    return ((PKSDATAFORMAT)Data)->SampleSize == REFUSED ? STATUS_NO_MATCH : STATUS_SUCCESS;
}

static NTSTATUS OnSetDataFormat(PKSPIN Pin, PKSDATAFORMAT Old, PKSMULTIPLE_ITEM OldAttributes, const KSDATARANGE *Range,
                                const KSATTRIBUTE_LIST *Attributes)
{
    if (Old)
        InterlockedIncrement(&FormatsSet);
    return STATUS_SUCCESS;
}

static NTSTATUS OnTakeClose(PKSPIN Pin, PIRP Irp)
{
    ForgetManager();
    return STATUS_SUCCESS;
}

static NTSTATUS OnReport(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    Heard = *(PKSQUALITY)Data;
    InterlockedIncrement(&Reports);
    return STATUS_SUCCESS;
}

static NTSTATUS OnError(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    Error = *(PKSERROR)Data;
    InterlockedIncrement(&Errors);
    return STATUS_SUCCESS;
}

static KSRATE Rate;

static void MakeNominal(void)
{
    RtlZeroMemory(&Rate, sizeof(Rate));
    Rate.Interface.Set = StandardInterfaces;
    Rate.Rate = NOMINAL;
    Rate.Flags = KSRATE_NOPRESENTATIONSTART | KSRATE_NOPRESENTATIONDURATION;
}

/* A rate belongs to a stream that is in PAUSE or RUN, and the nominal one is never refused. */
static NTSTATUS CheckRate(PKSPIN Pin, PKSRATE Asked)
{
    if (Pin->DeviceState < KSSTATE_PAUSE)
        return STATUS_INVALID_DEVICE_STATE;
    if (Asked->Rate != NOMINAL && (Asked->Rate < SLOWEST || Asked->Rate > FASTEST))
        return STATUS_NOT_SUPPORTED;
    return STATUS_SUCCESS;
}

/* What is left of the rate for the next filter: nothing of those that this one makes up for. */
static NTSTATUS OnRateCapability(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PKSRATE asked = &((PKSRATE_CAPABILITY)Request)->Rate, answer = (PKSRATE)Data;
    NTSTATUS status = CheckRate(KsGetPinFromIrp(Irp), asked);

    if (status == STATUS_INVALID_DEVICE_STATE)
        return status;
    *answer = *asked;
    if (NT_SUCCESS(status))
        answer->Rate = NOMINAL;
    Irp->IoStatus.Information = sizeof(*answer);
    return STATUS_SUCCESS;
}

static NTSTATUS OnGetRate(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(PKSRATE)Data = Rate;
    Irp->IoStatus.Information = sizeof(Rate);
    return STATUS_SUCCESS;
}

static NTSTATUS OnSetRate(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    NTSTATUS status = CheckRate(KsGetPinFromIrp(Irp), (PKSRATE)Data);
    if (NT_SUCCESS(status))
        Rate = *(PKSRATE)Data;
    return status;
}

static NTSTATUS OnFillState(PKSPIN Pin, KSSTATE To, KSSTATE From)
{
    if (To < KSSTATE_PAUSE)
        MakeNominal();
    return STATUS_SUCCESS;
}

static NTSTATUS OnFill(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (Allowed <= 0) {
            KsStreamPointerUnlock(lead, FALSE);
            break;
        }
        Allowed--;
        *(PUCHAR)lead->OffsetOut.Data = 1;
        lead->StreamHeader->DataUsed = 1;
        lead->StreamHeader->Duration = (LONGLONG)FRAME_TIME * NOMINAL / Rate.Rate;
        lead->StreamHeader->OptionsFlags = KSSTREAM_HEADER_OPTIONSF_DURATIONVALID;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

/* 0: the next three frames. */
static const char *Allow(PKSPIN Pin)
{
    Allowed = 3;
    KsPinAttemptProcessing(Pin, TRUE);
    return NULL;
}

/* 1: each of three frames was complained of, once, in the words of the one who complains. */
static const char *WereHeard(PKSPIN Pin)
{
    CHECK(Reports == 3 && Complaints.Sent == 3);
    CHECK(Heard.Context == (PVOID)0x77 && Heard.Proportion == PROPORTION && Heard.DeltaTime == LATE);
    return NULL;
}

/* 2: an error is told, too, and a manager that answers neither is an answer to the one who complains. */
static const char *TellError(PKSPIN Pin)
{
    KSERROR error = {Complaints.Context, (ULONG)STATUS_DATA_ERROR};

    Complain(KSPROPERTY_QUALITY_ERROR, &error, sizeof(error));
    CHECK(NT_SUCCESS(Complaints.Last));
    CHECK(Errors == 1 && Error.Context == (PVOID)0x77 && Error.Status == (ULONG)STATUS_DATA_ERROR);
    Complain(77, &error, sizeof(error));
    CHECK(Complaints.Last == STATUS_NOT_FOUND);
    return NULL;
}

/* 3: nobody is told any more. */
static const char *NoManager(PKSPIN Pin)
{
    CHECK(Complaints.Manager == NULL && Reports == 3);
    return NULL;
}

/* 5: both pins were asked to change their format, once. */
static const char *ChangedOnce(PKSPIN Pin)
{
    CHECK(FormatsSet == 2);
    return NULL;
}

/* 4: as before anything came. */
static const char *Forget(PKSPIN Pin)
{
    FormatsSet = Reports = Errors = Allowed = Complaints.Sent = 0;
    return NULL;
}

static const CHECK_ROUTINE Checks[] = {Allow, WereHeard, TellError, NoManager, Forget, ChangedOnce};
enum { CHECKS = sizeof(Checks) / sizeof(Checks[0]) };

static const KSPROPERTY_ITEM ManagerItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_STREAM_QUALITY, NULL, sizeof(KSPROPERTY), sizeof(KSQUALITY_MANAGER),
                           (PFNKSHANDLER)OnSetManager, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_ITEM ProposeItems[] = {
    DEFINE_KSPROPERTY_ITEM(KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT, NULL, sizeof(KSPROPERTY), sizeof(KSDATAFORMAT),
                           (PFNKSHANDLER)OnPropose, NULL, 0, NULL, NULL, 0)};
static const KSPROPERTY_ITEM RateItems[] = {
    DEFINE_KSPROPERTY_ITEM_STREAM_RATECAPABILITY((PFNKSHANDLER)OnRateCapability),
    DEFINE_KSPROPERTY_ITEM_STREAM_RATE((PFNKSHANDLER)OnGetRate, (PFNKSHANDLER)OnSetRate)};
static const KSPROPERTY_ITEM QualityItems[] = {
    DEFINE_KSPROPERTY_ITEM_QUALITY_REPORT(NULL, (PFNKSHANDLER)OnReport),
    DEFINE_KSPROPERTY_ITEM_QUALITY_ERROR(NULL, (PFNKSHANDLER)OnError)};

static const KSPROPERTY_SET TakeSets[] = {{&CheckSet, CHECKS, CheckItems, 0, NULL},
                                          {&StreamSet, SIZEOF_ARRAY(ManagerItems), ManagerItems, 0, NULL},
                                          {&ConnectionSet, SIZEOF_ARRAY(ProposeItems), ProposeItems, 0, NULL}};
static const KSPROPERTY_SET FillSets[] = {{&CheckSet, CHECKS, CheckItems, 0, NULL},
                                          {&StreamSet, SIZEOF_ARRAY(RateItems), RateItems, 0, NULL},
                                          {&QualitySet, SIZEOF_ARRAY(QualityItems), QualityItems, 0, NULL}};
static const KSAUTOMATION_TABLE TakeAutomation = {SIZEOF_ARRAY(TakeSets), sizeof(KSPROPERTY_ITEM), TakeSets};
static const KSAUTOMATION_TABLE FillAutomation = {SIZEOF_ARRAY(FillSets), sizeof(KSPROPERTY_ITEM), FillSets};

static const KSPIN_DISPATCH TakeDispatch = {.Process = OnTake, .Close = OnTakeClose, .SetDataFormat = OnSetDataFormat};
static const KSPIN_DISPATCH FillDispatch = {.Process = OnFill, .SetDeviceState = OnFillState,
                                            .SetDataFormat = OnSetDataFormat};

#define ANSWERING_PIN(dispatch, automation, flow) \
    { \
        .Dispatch = (dispatch), .AutomationTable = (automation), \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, \
    }

static const KSPIN_DESCRIPTOR_EX Pins[] = {
    ANSWERING_PIN(&TakeDispatch, &TakeAutomation, KSPIN_DATAFLOW_IN),
    ANSWERING_PIN(&FillDispatch, &FillAutomation, KSPIN_DATAFLOW_OUT),
};
DEFINE_DRIVER(0x81, NULL, Pins, NULL)
