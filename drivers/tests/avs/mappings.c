/*
 * A pin that sees its frames as mappings: a device that takes 24 bytes at a time, and tables with room for the driver.
 */
#include "avs.h"

enum { PIECE = 24, STRIDE = 32, PIECES = 3 };

static DMA_ADAPTER Adapter;

/* With BY_INTERFACE as drivers for 64 bits are told to. */
static NTSTATUS OnStart(PKSDEVICE Dev, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
#ifdef BY_INTERFACE
    static const GUID id = {STATIC_IID_IKsDeviceFunctions};
    DEVICE_DESCRIPTION description = {0};
    IKsDeviceFunctions *functions = NULL;
    PUNKNOWN outer = KsDeviceGetOuterUnknown(Dev);
    NTSTATUS status;

    if (!NT_SUCCESS(outer->lpVtbl->QueryInterface(outer, &id, (PVOID *)&functions)))
        return STATUS_NOINTERFACE;
    if (functions->lpVtbl->AddRef(functions) != 2 || functions->lpVtbl->Release(functions) != 1)
        return STATUS_UNSUCCESSFUL;
    status = functions->lpVtbl->RegisterAdapterObjectEx(functions, (PADAPTER_OBJECT)&Adapter, &description, 4, PIECE,
                                                        STRIDE);
    return functions->lpVtbl->Release(functions) == 0 ? status : STATUS_UNSUCCESSFUL;
#else
    KsDeviceRegisterAdapterObject(Dev, (PADAPTER_OBJECT)&Adapter, PIECE, STRIDE);
    return STATUS_SUCCESS;
#endif
}

static NTSTATUS OnProcess(PKSPIN Pin)
{
    return STATUS_PENDING;
}

static PKSMAPPING At(PKSMAPPING Table, ULONG Index)
{
    return (PKSMAPPING)((PUCHAR)Table + Index * STRIDE);
}

/* The client has sent two frames. */
static const char *Step(PKSPIN Pin)
{
    PKSSTREAM_POINTER lead = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED), clone;
    PKSSTREAM_HEADER first;
    PKSMAPPING table;
    ULONG i, left = FRAME;

    CHECK(lead && lead->OffsetOut.Count == PIECES && lead->OffsetOut.Remaining == PIECES);
    first = lead->StreamHeader;
    table = lead->OffsetOut.Mappings;
    for (i = 0; i < PIECES; i++) {
        PKSMAPPING mapping = At(table, i);
        ULONG bytes = left < PIECE ? left : PIECE;
        CHECK(mapping->PhysicalAddress.QuadPart == (LONGLONG)(ULONG_PTR)first->Data + i * PIECE);
        CHECK(mapping->ByteCount == bytes && mapping->Alignment && !(mapping->Alignment & (mapping->Alignment - 1)));
        CHECK(mapping->PhysicalAddress.QuadPart % mapping->Alignment == 0);
        RtlFillMemory((PUCHAR)(ULONG_PTR)mapping->PhysicalAddress.QuadPart, bytes, 'a' + i);
        *(PULONG)(mapping + 1) = 0xC0DE0000 + i;
        left -= bytes;
    }
    CHECK(left == 0);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 0, 2, FALSE)));
    CHECK(lead->OffsetOut.Mappings == At(table, 2) && lead->OffsetOut.Remaining == 1 && first->DataUsed == 2 * PIECE);
    CHECK(*(PULONG)(lead->OffsetOut.Mappings + 1) == 0xC0DE0002);
    CHECK(NT_SUCCESS(KsStreamPointerClone(lead, NULL, 0, &clone)));
    CHECK(clone->OffsetOut.Mappings == At(table, 2) && clone->OffsetOut.Remaining == 1);
    CHECK(NT_SUCCESS(KsStreamPointerAdvanceOffsets(lead, 0, 1, FALSE)));
    CHECK(lead->StreamHeader != first && lead->OffsetOut.Remaining == PIECES && first->DataUsed == FRAME);
    CHECK(clone->OffsetOut.Mappings->ByteCount == FRAME - 2 * PIECE);
    KsStreamPointerDelete(clone);
    KsStreamPointerUnlock(lead, TRUE);
    return NULL;
}

DEFINE_CHECKS(Step);
static const KSDEVICE_DISPATCH DeviceDispatch = {.Start = OnStart};
static const KSPIN_DISPATCH PinDispatch = {.Process = OnProcess};
static const KSPIN_DESCRIPTOR_EX Pins[] = {
    PIN(&PinDispatch, KSPIN_DATAFLOW_OUT, KSPIN_FLAG_DO_NOT_INITIATE_PROCESSING | KSPIN_FLAG_GENERATE_MAPPINGS, 1),
};
DEFINE_DRIVER(0x03, NULL, Pins, &DeviceDispatch)
