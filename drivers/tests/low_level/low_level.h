/*
 * What the drivers of this directory share: a device of their own whose requests go to a routine of the test, and a
 * caller that sends some. Every name that a file of ks/low_level exports has a TEST of its own name; SAME gives a name
 * the test of another whose test calls both.
 */
#ifndef USERKS_LOW_LEVEL_H
#define USERKS_LOW_LEVEL_H

#include "bytes.h"
#include "testing.h"

#define SAME(name, other) \
    __declspec(dllexport) const char *test_##name(void); \
    const char *test_##name(void) { return test_##other(); }

#define SYS __declspec(dllimport)
#undef IoCallDriver
#undef IoCompleteRequest
#undef ObDereferenceObject
SYS NTSTATUS NTAPI IoCallDriver(PDEVICE_OBJECT, PIRP);
SYS VOID NTAPI IoCompleteRequest(PIRP, CCHAR);
SYS LONG_PTR NTAPI ObDereferenceObject(PVOID);

/* {61A3C2B4-1B83-4F0C-9C4C-0E6A5D9B7F01} and its neighbours */
static const GUID SetA = {0x61a3c2b4, 0x1b83, 0x4f0c, {0x9c, 0x4c, 0x0e, 0x6a, 0x5d, 0x9b, 0x7f, 0x01}};
static const GUID SetB = {0x61a3c2b4, 0x1b83, 0x4f0c, {0x9c, 0x4c, 0x0e, 0x6a, 0x5d, 0x9b, 0x7f, 0x02}};

static const GUID NoSet;

typedef NTSTATUS (*ANSWER)(PDEVICE_OBJECT Device, PIRP Irp);

static DRIVER_OBJECT Driver;
static PDEVICE_OBJECT Device;
static ANSWER Answer;

/* Answers every request with the test's routine, and completes it unless it pends. */
static NTSTATUS NTAPI Dispatch(PDEVICE_OBJECT device, PIRP irp)
{
    NTSTATUS status = Answer(device, irp);
    if (status != STATUS_PENDING) {
        irp->IoStatus.Status = status;
        IofCompleteRequest(irp, IO_NO_INCREMENT);
    }
    return status;
}

static inline NTSTATUS MakeDevice(ANSWER answer)
{
    int at;
    for (at = 0; at <= IRP_MJ_MAXIMUM_FUNCTION; at++)
        Driver.MajorFunction[at] = Dispatch;
    Driver.Type = 4;
    Answer = answer;
    return IoCreateDevice(&Driver, 4 * sizeof(PVOID), NULL, FILE_DEVICE_KS, 0, FALSE, &Device);
}

static inline void DropDevice(void)
{
    IoDeleteDevice(Device);
    Device = NULL;
}

/* A control request and what came of it. */
struct asked {
    KEVENT Done;
    IO_STATUS_BLOCK Status;
    PIRP Irp;
};

/* Sends one; the status of the dispatch. */
static inline NTSTATUS Send(struct asked *asked, ULONG code, PVOID in, ULONG in_bytes, PVOID out, ULONG out_bytes)
{
    KeInitializeEvent(&asked->Done, NotificationEvent, FALSE);
    asked->Status.Status = STATUS_UNSUCCESSFUL;
    asked->Status.Information = 0xBAD;
    asked->Irp = IoBuildDeviceIoControlRequest(code, Device, in, in_bytes, out, out_bytes, FALSE, &asked->Done,
                                               &asked->Status);
    if (!asked->Irp)
        return STATUS_INSUFFICIENT_RESOURCES;
    return IofCallDriver(Device, asked->Irp);
}

/* Sends one and waits for its end. */
static inline NTSTATUS Ask(ULONG code, PVOID in, ULONG in_bytes, PVOID out, ULONG out_bytes, ULONG_PTR *information)
{
    struct asked asked;
    Send(&asked, code, in, in_bytes, out, out_bytes);
    KeWaitForSingleObject(&asked.Done, Executive, KernelMode, FALSE, NULL);
    if (information)
        *information = asked.Status.Information;
    return asked.Status.Status;
}

/* Takes a request back at its end. */
static NTSTATUS NTAPI Keep(PDEVICE_OBJECT device, PIRP irp, PVOID done)
{
    KeSetEvent((PKEVENT)done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

/* Sends a request of a major function on a file object and waits; the request is still there for the caller to free. */
static inline NTSTATUS SendMajor(PIRP irp, UCHAR major, UCHAR minor, PFILE_OBJECT file, PVOID first)
{
    KEVENT done;
    PIO_STACK_LOCATION stack = IoGetNextIrpStackLocation(irp);
    KeInitializeEvent(&done, NotificationEvent, FALSE);
    stack->MajorFunction = major;
    stack->MinorFunction = minor;
    stack->FileObject = file;
    stack->Parameters.Others.Argument1 = first;
    irp->IoStatus.Status = STATUS_NOT_SUPPORTED;
    IoSetCompletionRoutine(irp, Keep, &done, TRUE, TRUE, TRUE);
    IofCallDriver(Device, irp);
    KeWaitForSingleObject(&done, Executive, KernelMode, FALSE, NULL);
    return irp->IoStatus.Status;
}

static inline NTSTATUS Major(UCHAR major, UCHAR minor, PFILE_OBJECT file, PVOID first)
{
    PIRP irp = IoAllocateIrp(Device->StackSize, FALSE);
    NTSTATUS status = SendMajor(irp, major, minor, file, first);
    IoFreeIrp(irp);
    return status;
}

static inline void Identify(KSIDENTIFIER *identifier, const GUID *set, ULONG id, ULONG flags)
{
    identifier->Set = *set;
    identifier->Id = id;
    identifier->Flags = flags;
}

#endif
