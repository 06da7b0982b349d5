/*
 * A sink whose first pin accepts the private protocol and has its interface; the second knows nothing of it.
 */
#include "exchange.h"

static struct {
    EXCHANGE Exchange;
    LONG References;
    ULONG Taken;
    BOOLEAN InOrder;
} Inbox;
static ULONG ByQueue;

static NTSTATUS NTAPI OnQuery(EXCHANGE *This, const GUID *Id, PVOID *Interface)
{
    *Interface = IsGuid(Id, &ExchangeId) ? This : NULL;
    if (!*Interface)
        return STATUS_NOINTERFACE;
    InterlockedIncrement(&Inbox.References);
    return STATUS_SUCCESS;
}

static ULONG NTAPI OnAddRef(EXCHANGE *This)
{
    return InterlockedIncrement(&Inbox.References);
}

static ULONG NTAPI OnRelease(EXCHANGE *This)
{
    return InterlockedDecrement(&Inbox.References);
}

static void NTAPI OnPut(EXCHANGE *This, UCHAR Number)
{
    Inbox.InOrder = Inbox.InOrder && Number == Inbox.Taken;
    Inbox.Taken++;
}

static const __typeof__(*((EXCHANGE *)0)->Methods) Methods = {OnQuery, OnAddRef, OnRelease, OnPut};

static NTSTATUS OnHandshake(PKSPIN Pin, PKSHANDSHAKE In, PKSHANDSHAKE Out)
{
    /* Another status, as the offer asks for it. */
    if (IsGuid(&In->ProtocolId, &Protocol) && In->Argument1 == (PVOID)(ULONG_PTR)STATUS_ASKED)
        return (NTSTATUS)(ULONG_PTR)In->Argument2;
    if (!IsGuid(&In->ProtocolId, &Protocol) || In->Argument1 != (PVOID)(ULONG_PTR)VERSION)
        return STATUS_INVALID_DEVICE_REQUEST;
    Out->ProtocolId = Protocol;
    Out->Argument1 = (PVOID)(ULONG_PTR)(VERSION - 1);
    Out->Argument2 = In->Argument2;
    return STATUS_SUCCESS;
}

static NTSTATUS OnCreate(PKSPIN Pin, PIRP Irp)
{
    Inbox.Exchange.Methods = &Methods;
    Inbox.References = 1;
    Inbox.Taken = 0;
    Inbox.InOrder = TRUE;
    ByQueue = 0;
    if (Pin->Id == 0) {
        KsPinRegisterHandshakeCallback(Pin, OnHandshake);
        KsPinRegisterAggregatedClientUnknown(Pin, (PUNKNOWN)&Inbox.Exchange);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    while (lead) {
        if (lead->StreamHeader->DataUsed && *(PUCHAR)lead->OffsetIn.Data == ByQueue)
            ByQueue++;
        if (!NT_SUCCESS(KsStreamPointerAdvance(lead)))
            break;
    }
    return STATUS_PENDING;
}

/* 0: the frames came by the interface. */
static const char *ByInterface(PKSPIN Pin)
{
    CHECK(Inbox.Taken == FRAMES && Inbox.InOrder && ByQueue == 0);
    CHECK(KsPinGetConnectedPinFileObject(Pin) == NULL && KsPinGetConnectedPinDeviceObject(Pin) == NULL);
    return NULL;
}

/* 1: they came by the queue. */
static const char *ByTheQueue(PKSPIN Pin)
{
    CHECK(Inbox.Taken == 0 && ByQueue == FRAMES);
    return NULL;
}

/* 2: the source has let go of the interface. */
static const char *LetGo(PKSPIN Pin)
{
    /* Its own, and that of the aggregation of the first pin. */
    CHECK(Inbox.References == (Pin->Id == 0 ? 2 : 1));
    return NULL;
}

/* 3: what is connected is not of AVStream. */
static const char *Foreign(PKSPIN Pin)
{
    CHECK(Pin->ConnectionIsExternal);
    return NULL;
}

/* 4: it is. */
static const char *Own(PKSPIN Pin)
{
    CHECK(!Pin->ConnectionIsExternal);
    return NULL;
}

DEFINE_CHECKS(ByInterface, ByTheQueue, LetGo, Foreign, Own);
static const KSPIN_DISPATCH PinDispatch = {.Create = OnCreate, .Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&PinDispatch, KSPIN_DATAFLOW_IN, KSPIN_FLAG_GENERATE_EOS_EVENTS, 1),
    PIN(&PinDispatch, KSPIN_DATAFLOW_IN, KSPIN_FLAG_GENERATE_EOS_EVENTS, 1),
};
DEFINE_DRIVER(0x06, NULL, Pins, NULL)
