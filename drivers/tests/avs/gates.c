/*
 * A filter-centric mixer: two inputs behind a gate of the driver's, an AND gate or an OR gate as the client says in a
 * check, and an output. The checks run on the output; the filter is in STOP when a gate is attached.
 */
#include "avs.h"

static KSGATE Gate, Own;
static ULONG Calls, Taken;

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    ULONG i;
    Calls++;
    for (i = 0; i < Index[0].Count; i++) {
        PKSPROCESSPIN in = Index[0].Pins[i];
        if (in->StreamPointer && in->BytesAvailable) {
            in->BytesUsed = in->BytesAvailable;
            Taken++;
        }
    }
    if (Index[1].Count && Index[1].Pins[0]->StreamPointer)
        Index[1].Pins[0]->Terminate = TRUE;
    return STATUS_PENDING;
}

static PKSPIN Input(PKSPIN Pin, ULONG Index)
{
    PKSPIN pin;
    KsPinAcquireControl(Pin);
    pin = KsFilterGetFirstChildPin(KsPinGetParentFilter(Pin), 0);
    while (pin && Index--)
        pin = KsPinGetNextSiblingPin(pin);
    KsPinReleaseControl(Pin);
    return pin;
}

static PKSGATE FilterGate(PKSPIN Pin)
{
    return KsFilterGetAndGate(KsPinGetParentFilter(Pin));
}

/* 0: both inputs behind an OR gate. */
static const char *AttachOr(PKSPIN Pin)
{
    RtlZeroMemory(&Gate, sizeof(Gate));
    KsGateInitializeOr(&Gate, NULL);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    KsPinAttachOrGate(Input(Pin, 0), &Gate);
    KsPinAttachOrGate(Input(Pin, 1), &Gate);
    CHECK(Gate.NextGate == FilterGate(Pin));
    CHECK(!KsGateGetStateUnsafe(&Gate) && !KsGateGetStateUnsafe(FilterGate(Pin)));
    Calls = Taken = 0;
    return NULL;
}

/* 1: an AND gate instead. */
static const char *AttachAnd(PKSPIN Pin)
{
    KsPinAttachOrGate(Input(Pin, 0), NULL);
    KsPinAttachOrGate(Input(Pin, 1), NULL);
    CHECK(Gate.NextGate == NULL && KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateTerminateOr(&Gate);
    KsGateInitializeAnd(&Gate, NULL);
    KsPinAttachAndGate(Input(Pin, 0), &Gate);
    KsPinAttachAndGate(Input(Pin, 1), &Gate);
    CHECK(!KsGateGetStateUnsafe(&Gate) && !KsGateGetStateUnsafe(FilterGate(Pin)));
    Calls = Taken = 0;
    return NULL;
}

/* 2: one input has a frame, and the output has one. */
static const char *OneOfOr(PKSPIN Pin)
{
    CHECK(Calls == 1 && Taken == 1);
    CHECK(!KsGateGetStateUnsafe(&Gate));
    return NULL;
}

/* 3: the same behind the AND gate. */
static const char *OneOfAnd(PKSPIN Pin)
{
    CHECK(Calls == 0 && !KsGateGetStateUnsafe(&Gate));
    return NULL;
}

/* 4: both have one, behind the AND gate. */
static const char *BothOfAnd(PKSPIN Pin)
{
    CHECK(Calls == 1 && Taken == 2);
    return NULL;
}

/* 5: an OR gate that a gate of the driver's own feeds, by the inline functions. */
static const char *Nested(PKSPIN Pin)
{
    KsPinAttachAndGate(Input(Pin, 0), NULL);
    KsPinAttachAndGate(Input(Pin, 1), NULL);
    KsGateTerminateAnd(&Gate);
    KsGateInitializeOr(&Gate, NULL);
    KsPinAttachOrGate(Input(Pin, 0), &Gate);
    KsGateInitializeAnd(&Own, &Gate);
    CHECK(KsGateGetStateUnsafe(&Own) && KsGateGetStateUnsafe(&Gate) && KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateTurnInputOff(&Own);
    CHECK(!KsGateGetStateUnsafe(&Gate) && !KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateTurnInputOn(&Own);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    /* Inputs that come and go: of the gate that feeds, and of the one that a pin is attached to. */
    KsGateAddOffInputToAnd(&Own);
    CHECK(!KsGateGetStateUnsafe(&Gate) && !KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateRemoveOffInputFromAnd(&Own);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateAddOnInputToAnd(&Own);
    KsGateRemoveOnInputFromAnd(&Own);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateTurnInputOff(&Own);
    KsGateAddOnInputToOr(&Gate);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateRemoveOnInputFromOr(&Gate);
    KsGateAddOffInputToOr(&Gate);
    CHECK(!KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateRemoveOffInputFromOr(&Gate);
    KsGateTurnInputOn(&Own);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    KsGateTerminateAnd(&Own);
    CHECK(!KsGateGetStateUnsafe(&Gate));
    KsPinAttachOrGate(Input(Pin, 0), NULL);
    CHECK(KsGateGetStateUnsafe(FilterGate(Pin)));
    return NULL;
}

DEFINE_CHECKS(AttachOr, AttachAnd, OneOfOr, OneOfAnd, BothOfAnd, Nested);
static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(NULL, KSPIN_DATAFLOW_IN, 0, 2),
    PIN(NULL, KSPIN_DATAFLOW_OUT, 0, 1),
};
DEFINE_DRIVER(0x04, &FilterDispatch, Pins, NULL)
