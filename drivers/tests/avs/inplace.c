/*
 * A filter that works in place: it adds one to the first byte of each frame. It asks for nothing but a size of its own.
 */
#include "avs.h"

enum { INPUT, OUTPUT };

/* 0: the filter has its pins. */
static const char *Present(PKSPIN Pin)
{
    CHECK(Pin);
    return NULL;
}

DEFINE_CHECKS(Present);

static NTSTATUS OnProcess(PKSFILTER Filter, PKSPROCESSPIN_INDEXENTRY Index)
{
    PKSPROCESSPIN input, output;

    UNREFERENCED_PARAMETER(Filter);
    if (!Index[INPUT].Count || !Index[OUTPUT].Count)
        return STATUS_PENDING;
    input = Index[INPUT].Pins[0];
    output = Index[OUTPUT].Pins[0];
    if (input->BytesAvailable)
        ((PUCHAR)output->Data)[0] = ((PUCHAR)input->Data)[0] + 1;
    output->BytesUsed = input->BytesUsed = input->BytesAvailable;
    input->Terminate = output->Terminate = TRUE;
    return STATUS_SUCCESS;
}

static DECLARE_SIMPLE_FRAMING_EX(Framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                 KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_INPLACE_MODIFIER, 2,
                                 0, 1, 4096);

#define INPLACE_PIN(flow) \
    { \
        .AutomationTable = &Automation, \
        .PinDescriptor = {.DataRangesCount = 1, .DataRanges = Ranges, .DataFlow = (flow), \
                          .Communication = KSPIN_COMMUNICATION_BOTH}, \
        .InstancesPossible = 1, .InstancesNecessary = 1, .AllocatorFraming = &Framing, \
    }

static const KSFILTER_DISPATCH FilterDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    [INPUT] = INPLACE_PIN(KSPIN_DATAFLOW_IN),
    [OUTPUT] = INPLACE_PIN(KSPIN_DATAFLOW_OUT),
};
DEFINE_DRIVER(0x0e, &FilterDispatch, Pins, NULL)
