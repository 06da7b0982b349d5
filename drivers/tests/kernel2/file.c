/* Files of a folder, and devices by name. */
#include "kernel2.h"

static NTSTATUS open_file(PHANDLE handle, PCWSTR path, ACCESS_MASK access, ULONG disposition, ULONG options, ULONG_PTR *how)
{
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block = { { 0 } };
    NTSTATUS status;
    RtlInitUnicodeString(&name, path);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    status = ZwCreateFile(handle, access, &attributes, &block, NULL, FILE_ATTRIBUTE_NORMAL, 0, disposition,
                          options | FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0);
    if (how)
        *how = block.Information;
    return status;
}

typedef NTSTATUS NTAPI create_file(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PIO_STATUS_BLOCK, PLARGE_INTEGER, ULONG, ULONG, ULONG, ULONG, PVOID, ULONG);
TEST(ZwCreateFile)
{
    HANDLE file;
    ULONG_PTR how;
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block;
    CHECK(open_file(&file, L"\\??\\C:\\made.txt", GENERIC_WRITE, FILE_CREATE, 0, &how) == STATUS_SUCCESS && how == FILE_CREATED);
    CHECK(ZwClose(file) == STATUS_SUCCESS);
    CHECK(open_file(&file, L"\\??\\C:\\made.txt", GENERIC_WRITE, FILE_CREATE, 0, &how) == STATUS_OBJECT_NAME_COLLISION && !file);
    CHECK(open_file(&file, L"\\DosDevices\\c:\\made.txt", GENERIC_READ, FILE_OPEN, FILE_DELETE_ON_CLOSE, &how) == STATUS_SUCCESS && how == FILE_OPENED);
    CHECK(ZwClose(file) == STATUS_SUCCESS);
    CHECK(open_file(&file, L"\\??\\C:\\made.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(open_file(&file, L"\\??\\C:\\..\\..\\outside.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_ACCESS_DENIED);
    CHECK(open_file(&file, L"\\Device\\NoSuchDevice", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    RtlInitUnicodeString(&name, L"\\??\\C:\\read.txt");
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
    CHECK(((create_file *)routine_of(L"NtCreateFile"))(&file, GENERIC_READ, &attributes, &block, NULL, 0, 0, FILE_OPEN, 0, NULL, 0) == STATUS_SUCCESS);
    ZwClose(file);
    CHECK(ZwOpenFile(&file, GENERIC_READ, &attributes, &block, FILE_SHARE_READ, 0) == STATUS_SUCCESS);
    ZwClose(file);
    CHECK(((NTSTATUS (NTAPI *)(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, PIO_STATUS_BLOCK, ULONG, ULONG))routine_of(L"NtOpenFile"))(&file, GENERIC_READ, &attributes, &block, 0, 0) == STATUS_SUCCESS);
    ZwClose(file);
    CHECK(IoCreateFile(&file, GENERIC_READ, &attributes, &block, NULL, 0, 0, FILE_OPEN, 0, NULL, 0, CreateFileTypeNone, NULL, 0) == STATUS_SUCCESS);
    ZwClose(file);
    PASS;
}
SAME(NtCreateFile, ZwCreateFile)
SAME(ZwOpenFile, ZwCreateFile)
SAME(NtOpenFile, ZwCreateFile)
SAME(IoCreateFile, ZwCreateFile)

typedef NTSTATUS NTAPI transfer(HANDLE, HANDLE, PVOID, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG, PLARGE_INTEGER, PULONG);
static const char *read_with(transfer *read)
{
    HANDLE file;
    IO_STATUS_BLOCK block;
    LARGE_INTEGER offset;
    char data[16] = { 0 };
    CHECK(open_file(&file, L"\\??\\C:\\read.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_SUCCESS);
    CHECK(read(file, NULL, NULL, NULL, &block, data, 4, NULL, NULL) == STATUS_SUCCESS && block.Information == 4);
    CHECK(same_text(data, "0123"));
    CHECK(read(file, NULL, NULL, NULL, &block, data, 4, NULL, NULL) == STATUS_SUCCESS && same_text(data, "4567"));
    offset.QuadPart = 8;
    CHECK(read(file, NULL, NULL, NULL, &block, data, 16, &offset, NULL) == STATUS_SUCCESS && block.Information == 2);
    CHECK(read(file, NULL, NULL, NULL, &block, data, 16, NULL, NULL) == STATUS_END_OF_FILE);
    CHECK(ZwWriteFile(file, NULL, NULL, NULL, &block, data, 1, NULL, NULL) == STATUS_ACCESS_DENIED);
    ZwClose(file);
    CHECK(read(file, NULL, NULL, NULL, &block, data, 1, NULL, NULL) == STATUS_INVALID_HANDLE);
    PASS;
}
TEST(ZwReadFile) { return read_with(ZwReadFile); }
TEST(NtReadFile) { return read_with((transfer *)routine_of(L"NtReadFile")); }

static const char *write_with(transfer *write)
{
    HANDLE file;
    IO_STATUS_BLOCK block;
    LARGE_INTEGER offset;
    FILE_STANDARD_INFORMATION standard;
    FILE_POSITION_INFORMATION position;
    FILE_END_OF_FILE_INFORMATION end;
    FILE_BASIC_INFORMATION basic;
    FILE_DISPOSITION_INFORMATION disposition;
    char data[16] = { 0 };
    CHECK(open_file(&file, L"\\??\\C:\\written.txt", GENERIC_READ | GENERIC_WRITE, FILE_OVERWRITE_IF, 0, NULL) == STATUS_SUCCESS);
    CHECK(write(file, NULL, NULL, NULL, &block, (PVOID)"hello", 5, NULL, NULL) == STATUS_SUCCESS && block.Information == 5);
    offset.QuadPart = -1;
    CHECK(write(file, NULL, NULL, NULL, &block, (PVOID)"!", 1, &offset, NULL) == STATUS_SUCCESS);
    CHECK(ZwFlushBuffersFile(file, &block) == STATUS_SUCCESS);
    CHECK(ZwQueryInformationFile(file, &block, &standard, sizeof standard, FileStandardInformation) == STATUS_SUCCESS);
    CHECK(standard.EndOfFile.QuadPart == 6 && standard.NumberOfLinks == 1 && !standard.Directory && !standard.DeletePending);
    CHECK(ZwQueryInformationFile(file, &block, &position, sizeof position, FilePositionInformation) == STATUS_SUCCESS);
    CHECK(position.CurrentByteOffset.QuadPart == 6);
    CHECK(ZwQueryInformationFile(file, &block, &basic, sizeof basic, FileBasicInformation) == STATUS_SUCCESS);
    CHECK(basic.FileAttributes == FILE_ATTRIBUTE_NORMAL);
    CHECK(ZwQueryInformationFile(file, &block, &standard, 4, FileStandardInformation) == STATUS_INFO_LENGTH_MISMATCH);
    CHECK(ZwQueryInformationFile(file, &block, &standard, sizeof standard, 99) == STATUS_INVALID_INFO_CLASS);
    position.CurrentByteOffset.QuadPart = 1;
    CHECK(ZwSetInformationFile(file, &block, &position, sizeof position, FilePositionInformation) == STATUS_SUCCESS);
    end.EndOfFile.QuadPart = 3;
    CHECK(ZwSetInformationFile(file, &block, &end, sizeof end, FileEndOfFileInformation) == STATUS_SUCCESS);
    CHECK(ZwReadFile(file, NULL, NULL, NULL, &block, data, 16, NULL, NULL) == STATUS_SUCCESS && same_text(data, "el"));
    disposition.DeleteFile = TRUE;
    CHECK(ZwSetInformationFile(file, &block, &disposition, sizeof disposition, FileDispositionInformation) == STATUS_SUCCESS);
    ZwClose(file);
    CHECK(open_file(&file, L"\\??\\C:\\written.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    PASS;
}
TEST(ZwWriteFile) { return write_with(ZwWriteFile); }
TEST(NtWriteFile) { return write_with((transfer *)routine_of(L"NtWriteFile")); }
SAME(ZwQueryInformationFile, ZwWriteFile)
SAME(ZwSetInformationFile, ZwWriteFile)
SAME(ZwFlushBuffersFile, ZwWriteFile)

typedef NTSTATUS NTAPI information(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, ULONG);
TEST(NtQueryInformationFile)
{
    HANDLE file;
    IO_STATUS_BLOCK block;
    FILE_POSITION_INFORMATION position;
    CHECK(open_file(&file, L"\\??\\C:\\read.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_SUCCESS);
    position.CurrentByteOffset.QuadPart = 7;
    CHECK(((information *)routine_of(L"NtSetInformationFile"))(file, &block, &position, sizeof position, FilePositionInformation) == STATUS_SUCCESS);
    position.CurrentByteOffset.QuadPart = 0;
    CHECK(((information *)routine_of(L"NtQueryInformationFile"))(file, &block, &position, sizeof position, FilePositionInformation) == STATUS_SUCCESS);
    CHECK(position.CurrentByteOffset.QuadPart == 7);
    ZwClose(file);
    PASS;
}
SAME(NtSetInformationFile, NtQueryInformationFile)

TEST(ZwDeleteFile)
{
    HANDLE file;
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    CHECK(open_file(&file, L"\\??\\C:\\deleted.txt", GENERIC_WRITE, FILE_OPEN_IF, 0, NULL) == STATUS_SUCCESS);
    ZwClose(file);
    RtlInitUnicodeString(&name, L"\\??\\C:\\deleted.txt");
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
    CHECK(((NTSTATUS (NTAPI *)(POBJECT_ATTRIBUTES))routine_of(L"ZwDeleteFile"))(&attributes) == STATUS_SUCCESS);
    CHECK(open_file(&file, L"\\??\\C:\\deleted.txt", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    PASS;
}

/* A device with a name and a link, opened by handle. */
static int majors[IRP_MJ_MAXIMUM_FUNCTION + 1];
static WCHAR opened_name[16];

static NTSTATUS NTAPI serve(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    majors[stack->MajorFunction]++;
    irp->IoStatus.Information = 0;
    if (stack->MajorFunction == IRP_MJ_CREATE && stack->FileObject->FileName.Length < sizeof opened_name)
        RtlCopyMemory(opened_name, stack->FileObject->FileName.Buffer, stack->FileObject->FileName.Length);
    if (stack->MajorFunction == IRP_MJ_DEVICE_CONTROL) {
        *(ULONG *)irp->AssociatedIrp.SystemBuffer += 5;
        irp->IoStatus.Information = sizeof(ULONG);
    }
    if (stack->MajorFunction == IRP_MJ_READ) {
        *(char *)irp->AssociatedIrp.SystemBuffer = 'd';
        irp->IoStatus.Information = 1;
    }
    irp->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

#define TYPE(name) (*(POBJECT_TYPE *)routine_of(L"" #name))
typedef NTSTATUS NTAPI control(HANDLE, HANDLE, PVOID, PVOID, PIO_STATUS_BLOCK, ULONG, PVOID, ULONG, PVOID, ULONG);
typedef NTSTATUS NTAPI by_handle_tag(HANDLE, ACCESS_MASK, POBJECT_TYPE, KPROCESSOR_MODE, ULONG, PVOID *, PVOID);

static const char *use_device(void)
{
    DRIVER_OBJECT driver = { 0 };
    PDEVICE_OBJECT device, found;
    PFILE_OBJECT object;
    PVOID body;
    UNICODE_STRING name, link;
    HANDLE handle, second;
    IO_STATUS_BLOCK block;
    ULONG number = 37, at;
    char data = 0;
    for (at = 0; at <= IRP_MJ_MAXIMUM_FUNCTION; at++)
        driver.MajorFunction[at] = serve, majors[at] = 0;
    RtlInitUnicodeString(&name, L"\\Device\\UserksServed");
    RtlInitUnicodeString(&link, L"\\DosDevices\\UserksServed");
    CHECK(IoCreateDevice(&driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device) == STATUS_SUCCESS);
    device->Flags |= DO_BUFFERED_IO;
    CHECK(IoCreateSymbolicLink(&link, &name) == STATUS_SUCCESS);

    CHECK(open_file(&handle, L"\\??\\USERKSserved\\Sub", GENERIC_READ, FILE_OPEN, 0, NULL) == STATUS_SUCCESS);
    CHECK(majors[IRP_MJ_CREATE] == 1 && opened_name[0] == L'\\' && opened_name[1] == L'S');
    CHECK(ZwDeviceIoControlFile(handle, NULL, NULL, NULL, &block, CTL_CODE(0x22, 1, METHOD_BUFFERED, 0), &number, 4, &number, 4) == STATUS_SUCCESS);
    CHECK(number == 42 && block.Information == 4);
    CHECK(((control *)routine_of(L"NtDeviceIoControlFile"))(handle, NULL, NULL, NULL, &block, CTL_CODE(0x22, 1, METHOD_BUFFERED, 0), &number, 4, &number, 4) == STATUS_SUCCESS && number == 47);
    CHECK(ZwReadFile(handle, NULL, NULL, NULL, &block, &data, 1, NULL, NULL) == STATUS_SUCCESS && data == 'd');

    CHECK(ObReferenceObjectByHandle(handle, FILE_READ_DATA, TYPE(IoFileObjectType), KernelMode, &body, NULL) == STATUS_SUCCESS);
    object = body;
    CHECK(object->Type == 5 && object->DeviceObject == device && IoGetRelatedDeviceObject(object) == device);
    CHECK(((PDEVICE_OBJECT (NTAPI *)(PFILE_OBJECT))routine_of(L"IoGetBaseFileSystemDeviceObject"))(object) == device);
    CHECK(ObReferenceObjectByHandle(handle, 0, TYPE(ExEventObjectType), KernelMode, &body, NULL) == STATUS_OBJECT_TYPE_MISMATCH && !body);
    CHECK(ObReferenceObjectByHandle((HANDLE)0x777770, 0, NULL, KernelMode, &body, NULL) == STATUS_INVALID_HANDLE);
    CHECK(((by_handle_tag *)routine_of(L"ObReferenceObjectByHandleWithTag"))(handle, 0, *IoFileObjectType, KernelMode, 'a', &body, NULL) == STATUS_SUCCESS && body == object);
    ObDereferenceObject(body);
    CHECK(ObOpenObjectByPointer(object, 0, NULL, GENERIC_READ, TYPE(IoFileObjectType), KernelMode, &second) == STATUS_SUCCESS);
    CHECK(ZwClose(handle) == STATUS_SUCCESS && majors[IRP_MJ_CLEANUP] == 0);
    CHECK(ZwClose(second) == STATUS_SUCCESS && majors[IRP_MJ_CLEANUP] == 1 && majors[IRP_MJ_CLOSE] == 0);
    ObMakeTemporaryObject(object);
    ObDereferenceObject(object);
    CHECK(majors[IRP_MJ_CLOSE] == 1);

    CHECK(IoGetDeviceObjectPointer(&name, FILE_READ_DATA, &object, &found) == STATUS_SUCCESS && found == device);
    CHECK(object->DeviceObject == device && majors[IRP_MJ_CREATE] == 2);
    ObDereferenceObject(object);
    CHECK(majors[IRP_MJ_CLOSE] == 2);
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(device);
    CHECK(IoGetDeviceObjectPointer(&name, FILE_READ_DATA, &object, &found) == STATUS_OBJECT_NAME_NOT_FOUND && !object);
    PASS;
}
TEST(ZwDeviceIoControlFile) { return use_device(); }
SAME(NtDeviceIoControlFile, ZwDeviceIoControlFile)
SAME(ObReferenceObjectByHandle, ZwDeviceIoControlFile)
SAME(ObReferenceObjectByHandleWithTag, ZwDeviceIoControlFile)
SAME(ObOpenObjectByPointer, ZwDeviceIoControlFile)
SAME(ObMakeTemporaryObject, ZwDeviceIoControlFile)
SAME(IoGetDeviceObjectPointer, ZwDeviceIoControlFile)
SAME(IoGetRelatedDeviceObject, ZwDeviceIoControlFile)
SAME(IoGetBaseFileSystemDeviceObject, ZwDeviceIoControlFile)
SAME(IoFileObjectType, ZwDeviceIoControlFile)
SAME(ExEventObjectType, ZwDeviceIoControlFile)

static int pointers(const WCHAR *name)
{
    PVOID *variable = (PVOID *)routine_of(name);
    return variable && *variable;
}
TEST(PsThreadType) { CHECK(pointers(L"PsThreadType") && pointers(L"PsProcessType") && pointers(L"CmKeyObjectType") && pointers(L"ExSemaphoreObjectType")); PASS; }
SAME(PsProcessType, PsThreadType)
SAME(CmKeyObjectType, PsThreadType)
SAME(ExSemaphoreObjectType, PsThreadType)

typedef NTSTATUS NTAPI by_name(PUNICODE_STRING, ULONG, PVOID, ACCESS_MASK, POBJECT_TYPE, KPROCESSOR_MODE, PVOID, PVOID *);
TEST(ObReferenceObjectByName)
{
    UNICODE_STRING name;
    PVOID object = (PVOID)1;
    RtlInitUnicodeString(&name, L"\\Driver\\kbdclass");
    CHECK(((by_name *)routine_of(L"ObReferenceObjectByName"))(&name, 0, NULL, 0, NULL, KernelMode, NULL, &object) == STATUS_NOT_SUPPORTED && !object);
    PASS;
}
