/* Reads, writes, information and stream requests on a file object, by fast routines and by packets. */
#include "low_level.h"

enum { BYTES = 16 };
#define ANY_CLASS ((FILE_INFORMATION_CLASS)9)

static FILE_OBJECT File;
static FAST_IO_DISPATCH Fast;
static UCHAR Stored[BYTES];
static PIRP Waiting;
static BOOLEAN Pends;
static ULONG Packets, Modes, Keys;
static LONGLONG LastOffset;
static ULONG LastClass, FastCalls;

static NTSTATUS OnPacket(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PUCHAR buffer = irp->AssociatedIrp.SystemBuffer;
    Packets++;
    Modes += irp->RequestorMode;
    if (stack->FileObject != &File)
        return STATUS_INVALID_HANDLE;
    switch (stack->MajorFunction) {
    case IRP_MJ_READ:
        Keys += stack->Parameters.Read.Key;
        LastOffset = stack->Parameters.Read.ByteOffset.QuadPart;
        RtlCopyMemory(buffer, Stored, stack->Parameters.Read.Length);
        irp->IoStatus.Information = stack->Parameters.Read.Length;
        break;
    case IRP_MJ_WRITE:
        LastOffset = stack->Parameters.Write.ByteOffset.QuadPart;
        RtlCopyMemory(Stored, buffer, stack->Parameters.Write.Length);
        irp->IoStatus.Information = stack->Parameters.Write.Length;
        break;
    case IRP_MJ_QUERY_INFORMATION:
        LastClass = stack->Parameters.QueryFile.FileInformationClass;
        if (stack->Parameters.QueryFile.Length < 8)
            return STATUS_INFO_LENGTH_MISMATCH;
        RtlFillMemory(buffer, 8, 0x5a);
        irp->IoStatus.Information = 8;
        break;
    case IRP_MJ_SET_INFORMATION:
        LastClass = stack->Parameters.SetFile.FileInformationClass;
        RtlCopyMemory(Stored, buffer, stack->Parameters.SetFile.Length);
        break;
    case IRP_MJ_DEVICE_CONTROL:
        LastClass = stack->Parameters.DeviceIoControl.IoControlCode;
        ((PKSSTREAM_HEADER)irp->UserBuffer)->DataUsed = 3;
        irp->IoStatus.Information = stack->Parameters.DeviceIoControl.OutputBufferLength;
        if (((PKSSTREAM_HEADER)irp->UserBuffer)->FrameExtent == 0)
            return STATUS_DEVICE_BUSY;
        break;
    }
    if (Pends) {
        IoMarkIrpPending(irp);
        Waiting = irp;
        return STATUS_PENDING;
    }
    return STATUS_SUCCESS;
}

static void Finish(void)
{
    Waiting->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(Waiting, IO_NO_INCREMENT);
}

static BOOLEAN NTAPI FastRead(PFILE_OBJECT file, PLARGE_INTEGER offset, ULONG length, BOOLEAN wait, ULONG key,
                              PVOID buffer, PIO_STATUS_BLOCK status, PDEVICE_OBJECT device)
{
    FastCalls++;
    if (file != &File || device != Device || !wait || key == 99)
        return FALSE;
    RtlFillMemory(buffer, length, 0xFA);
    status->Status = STATUS_SUCCESS;
    status->Information = length;
    LastOffset = offset->QuadPart;
    return TRUE;
}

static BOOLEAN NTAPI FastBasic(PFILE_OBJECT file, BOOLEAN wait, PFILE_BASIC_INFORMATION basic, PIO_STATUS_BLOCK status,
                               PDEVICE_OBJECT device)
{
    FastCalls++;
    basic->FileAttributes = 77;
    status->Status = STATUS_SUCCESS;
    status->Information = sizeof *basic;
    return file == &File && wait && device == Device;
}

static const char *Start(void)
{
    CHECK(MakeDevice(OnPacket) == STATUS_SUCCESS);
    Device->Flags |= DO_BUFFERED_IO;
    RtlZeroMemory(&File, sizeof File);
    RtlZeroMemory(&Fast, sizeof Fast);
    File.Type = 5;
    File.DeviceObject = Device;
    File.Flags = FO_SYNCHRONOUS_IO;
    Driver.FastIoDispatch = NULL;
    Packets = Modes = Keys = FastCalls = 0;
    Pends = FALSE;
    PASS;
}

TEST(KsReadFile)
{
    UCHAR buffer[BYTES] = "0123456789abcde";
    IO_STATUS_BLOCK status = {{STATUS_UNSUCCESSFUL}, 0};
    KEVENT event;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(KsWriteFile(&File, NULL, NULL, &status, buffer, 10, 0, KernelMode) == STATUS_SUCCESS);
    CHECK(status.Status == STATUS_SUCCESS && status.Information == 10 && Stored[9] == '9' && LastOffset == 0);
    /* A file that is used in order goes on where it was; the key and the mode are the caller's. */
    CHECK(KsReadFile(&File, NULL, NULL, &status, buffer + 1, 5, 7, UserMode) == STATUS_SUCCESS);
    CHECK(LastOffset == 10 && Keys == 7 && Modes == UserMode && buffer[1] == '0' && buffer[5] == '4' && buffer[6] == '6');
    CHECK(File.CurrentByteOffset.QuadPart == 15 && Packets == 2);
    /* With an event it goes on by itself. */
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    Pends = TRUE;
    status.Status = STATUS_UNSUCCESSFUL;
    CHECK(KsReadFile(&File, &event, NULL, &status, buffer, 4, 0, KernelMode) == STATUS_PENDING);
    CHECK(!KeReadStateEvent(&event) && status.Status == STATUS_UNSUCCESSFUL);
    Finish();
    CHECK(KeReadStateEvent(&event) && status.Status == STATUS_SUCCESS && status.Information == 4 && buffer[3] == '3');
    Pends = FALSE;
    /* The driver's fast routine comes first, for a kernel requestor; where it declines there is a packet. */
    Fast.SizeOfFastIoDispatch = sizeof Fast;
    Fast.FastIoRead = FastRead;
    Driver.FastIoDispatch = &Fast;
    Packets = 0;
    CHECK(KsReadFile(&File, NULL, NULL, &status, buffer, 4, 0, KernelMode) == STATUS_SUCCESS);
    CHECK(FastCalls == 1 && Packets == 0 && buffer[0] == 0xFA && File.CurrentByteOffset.QuadPart == 19);
    CHECK(KsReadFile(&File, NULL, NULL, &status, buffer, 4, 99, KernelMode) == STATUS_SUCCESS && FastCalls == 2);
    CHECK(Packets == 1 && buffer[0] == '0');
    CHECK(KsReadFile(&File, NULL, NULL, &status, buffer, 4, 0, UserMode) == STATUS_SUCCESS && FastCalls == 2);
    CHECK(KsReadFile(NULL, NULL, NULL, &status, buffer, 4, 0, KernelMode) == STATUS_INVALID_PARAMETER);
    Driver.FastIoDispatch = NULL;
    DropDevice();
    PASS;
}
SAME(KsWriteFile, KsReadFile)

TEST(KsQueryInformationFile)
{
    UCHAR buffer[BYTES] = {0};
    FILE_BASIC_INFORMATION basic;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(KsQueryInformationFile(&File, buffer, BYTES, ANY_CLASS) == STATUS_SUCCESS && LastClass == ANY_CLASS);
    CHECK(buffer[7] == 0x5a && buffer[8] == 0);
    CHECK(KsQueryInformationFile(&File, buffer, 4, ANY_CLASS) == STATUS_INFO_LENGTH_MISMATCH);
    CHECK(KsSetInformationFile(&File, buffer, 8, (FILE_INFORMATION_CLASS)(ANY_CLASS + 1)) == STATUS_SUCCESS);
    CHECK(LastClass == ANY_CLASS + 1 && Stored[7] == 0x5a && Packets == 3);
    Fast.SizeOfFastIoDispatch = sizeof Fast;
    Fast.FastIoQueryBasicInfo = FastBasic;
    Driver.FastIoDispatch = &Fast;
    CHECK(KsQueryInformationFile(&File, &basic, sizeof basic, FileBasicInformation) == STATUS_SUCCESS);
    CHECK(basic.FileAttributes == 77 && FastCalls == 1 && Packets == 3);
    CHECK(KsQueryInformationFile(&File, buffer, BYTES, FileStandardInformation) == STATUS_SUCCESS && Packets == 4);
    Driver.FastIoDispatch = NULL;
    DropDevice();
    PASS;
}
SAME(KsSetInformationFile, KsQueryInformationFile)

static ULONG Completions;
static PIRP CompletedIrp;

static NTSTATUS NTAPI OnCompletion(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    Completions++;
    CompletedIrp = context == &Completions ? irp : NULL;
    return STATUS_SUCCESS;
}

TEST(KsStreamIo)
{
    KSSTREAM_HEADER header;
    IO_STATUS_BLOCK status = {{STATUS_UNSUCCESSFUL}, 0};
    KEVENT event;
    const char *failed = Start();
    if (failed)
        return failed;
    RtlZeroMemory(&header, sizeof header);
    header.Size = sizeof header;
    header.FrameExtent = BYTES;
    Completions = 0;
    CHECK(KsStreamIo(&File, NULL, NULL, OnCompletion, &Completions, KsInvokeOnSuccess, &status, &header, sizeof header,
                     KSSTREAM_WRITE | KSSTREAM_SYNCHRONOUS, KernelMode) == STATUS_SUCCESS);
    CHECK(LastClass == IOCTL_KS_WRITE_STREAM && status.Information == sizeof header && header.DataUsed == 3);
    CHECK(Completions == 1 && CompletedIrp && Modes == 0);
    /* The routine is called at the ends that were asked for. */
    header.FrameExtent = 0;
    CHECK(KsStreamIo(&File, NULL, NULL, OnCompletion, &Completions, KsInvokeOnSuccess, &status, &header, sizeof header,
                     KSSTREAM_READ, UserMode) == STATUS_DEVICE_BUSY);
    CHECK(LastClass == IOCTL_KS_READ_STREAM && Completions == 1 && Modes == UserMode);
    CHECK(KsStreamIo(&File, NULL, NULL, OnCompletion, &Completions, KsInvokeOnError, &status, &header, sizeof header,
                     KSSTREAM_READ, KernelMode) == STATUS_DEVICE_BUSY && Completions == 2);
    /* With an event it goes on by itself. */
    header.FrameExtent = BYTES;
    Pends = TRUE;
    status.Status = STATUS_UNSUCCESSFUL;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    CHECK(KsStreamIo(&File, &event, NULL, OnCompletion, &Completions, KsInvokeOnSuccess | KsInvokeOnError, &status,
                     &header, sizeof header, KSSTREAM_READ, KernelMode) == STATUS_PENDING);
    CHECK(!KeReadStateEvent(&event) && Completions == 2);
    Finish();
    CHECK(KeReadStateEvent(&event) && status.Status == STATUS_SUCCESS && Completions == 3);
    Pends = FALSE;
    CHECK(KsStreamIo(NULL, NULL, NULL, NULL, NULL, 0, &status, &header, sizeof header, KSSTREAM_READ, KernelMode)
          == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

TEST(KsSynchronousIoControlDevice)
{
    KSSTREAM_HEADER header;
    ULONG returned = 0;
    const char *failed = Start();
    if (failed)
        return failed;
    RtlZeroMemory(&header, sizeof header);
    header.FrameExtent = BYTES;
    CHECK(KsSynchronousIoControlDevice(&File, UserMode, IOCTL_KS_READ_STREAM, NULL, 0, &header, sizeof header, &returned)
          == STATUS_SUCCESS);
    CHECK(returned == sizeof header && header.DataUsed == 3 && Modes == UserMode);
    CHECK(KsSynchronousIoControlDevice(NULL, KernelMode, IOCTL_KS_READ_STREAM, NULL, 0, &header, sizeof header, &returned)
          == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}
