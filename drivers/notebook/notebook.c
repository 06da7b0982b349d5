/*
 * notebook: reads how it is set up in its registry key, keeps a note in a file, and answers both by properties. The
 * registry of `notebook.sys` is `notebook.toml` beside it; its files are below the folder that its host was given.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E06} */
static const GUID NotebookSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x06}};

enum { COUNT, TITLE, NOTE };

static ULONG Count = 3;
static WCHAR Title[32];

static void ReadParameters(PUNICODE_STRING RegistryPath)
{
    static const WCHAR suffix[] = L"\\Parameters";
    UCHAR room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(Title)];
    PKEY_VALUE_PARTIAL_INFORMATION value = (PVOID)room;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING path, name;
    WCHAR text[256];
    HANDLE key;
    ULONG used;

    path.Buffer = text;
    path.Length = 0;
    path.MaximumLength = sizeof(text);
    if (!NT_SUCCESS(RtlAppendUnicodeStringToString(&path, RegistryPath)) ||
        !NT_SUCCESS(RtlAppendUnicodeToString(&path, suffix)))
        return;
    InitializeObjectAttributes(&attributes, &path, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes)))
        return;
    RtlInitUnicodeString(&name, L"Count");
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof(room), &used)) &&
        value->Type == REG_DWORD)
        Count = *(ULONG *)value->Data;
    RtlInitUnicodeString(&name, L"Title");
    if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, value, sizeof(room), &used)) &&
        value->Type == REG_SZ)
        RtlCopyMemory(Title, value->Data, min(value->DataLength, sizeof(Title) - sizeof(WCHAR)));
    ZwClose(key);
}

static NTSTATUS OpenNote(PHANDLE file, ACCESS_MASK access, ULONG disposition)
{
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK status;
    UNICODE_STRING name;
    RtlInitUnicodeString(&name, L"\\DosDevices\\C:\\note.txt");
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    return ZwCreateFile(file, access | SYNCHRONIZE, &attributes, &status, NULL, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ,
                        disposition, FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static NTSTATUS GetCount(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    *(ULONG *)Data = Count;
    Irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS GetTitle(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    PAGED_CODE();
    RtlCopyMemory(Data, Title, sizeof(Title));
    Irp->IoStatus.Information = sizeof(Title);
    return STATUS_SUCCESS;
}

static NTSTATUS GetNote(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG room = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    IO_STATUS_BLOCK status;
    NTSTATUS result;
    HANDLE file;

    PAGED_CODE();
    result = OpenNote(&file, GENERIC_READ, FILE_OPEN);
    if (!NT_SUCCESS(result))
        return result;
    result = ZwReadFile(file, NULL, NULL, NULL, &status, Data, room, NULL, NULL);
    ZwClose(file);
    if (NT_SUCCESS(result))
        Irp->IoStatus.Information = status.Information;
    return result;
}

static NTSTATUS SetNote(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    ULONG bytes = IoGetCurrentIrpStackLocation(Irp)->Parameters.DeviceIoControl.OutputBufferLength;
    IO_STATUS_BLOCK status;
    NTSTATUS result;
    HANDLE file;

    PAGED_CODE();
    result = OpenNote(&file, GENERIC_WRITE, FILE_OVERWRITE_IF);
    if (!NT_SUCCESS(result))
        return result;
    result = ZwWriteFile(file, NULL, NULL, NULL, &status, Data, bytes, NULL, NULL);
    ZwClose(file);
    return result;
}

static const KSPROPERTY_ITEM Properties[] = {
    DEFINE_KSPROPERTY_ITEM(COUNT, GetCount, sizeof(KSPROPERTY), sizeof(ULONG), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(TITLE, GetTitle, sizeof(KSPROPERTY), sizeof(Title), NULL, NULL, 0, NULL, NULL, 0),
    DEFINE_KSPROPERTY_ITEM(NOTE, GetNote, sizeof(KSPROPERTY), 1, SetNote, NULL, 0, NULL, NULL, 0),
};
static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){
    DEFINE_KSPROPERTY_SET(&NotebookSet, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};
static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};

static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};
static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x08}};
static const KSFILTER_DISPATCH FilterDispatch = {NULL};
static const KSFILTER_DESCRIPTOR Filter = {
    .Dispatch = &FilterDispatch,
    .AutomationTable = &Automation,
    .Version = KSFILTER_DESCRIPTOR_VERSION,
    .ReferenceGuid = &Reference,
    .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),
    .CategoriesCount = SIZEOF_ARRAY(Categories),
    .Categories = Categories,
    .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),
};
static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};
static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    HANDLE note;
    ReadParameters(RegistryPath);
    if (NT_SUCCESS(OpenNote(&note, GENERIC_READ, FILE_OPEN))) {
        DbgPrint("notebook: there is a note already\n");
        ZwClose(note);
    }
    DbgPrint("notebook: count %u, title '%ws'\n", Count, Title);
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
}
