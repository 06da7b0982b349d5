/* A set of properties as one block, taken apart into requests of the driver's own, and kept in the registry. */
#include "low_level.h"

SYS NTSTATUS NTAPI ZwSetValueKey(HANDLE, PUNICODE_STRING, ULONG, ULONG, PVOID, ULONG);
SYS NTSTATUS NTAPI ZwCreateKey(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG, PUNICODE_STRING, ULONG, PULONG);

/* A serialized size of 1: the property is asked for it. */
enum { NUMBER, TEXT, FIXED, BY_SIZE_QUERY = 1 };

static ULONG Number;
static char Word[16];
static ULONG Length;
static ULONG Requests, FromUser;

static void Note(PIRP irp)
{
    Requests++;
    FromUser += irp->RequestorMode == UserMode;
}

static NTSTATUS NTAPI GetNumber(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    Note(irp);
    *(ULONG *)data = Number;
    irp->IoStatus.Information = sizeof(ULONG);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI SetNumber(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    Note(irp);
    if (*(ULONG *)data > 100)
        return STATUS_INVALID_PARAMETER;
    Number = *(ULONG *)data;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI GetWord(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    ULONG room = IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength;
    Note(irp);
    irp->IoStatus.Information = Length;
    if (!room)
        return STATUS_BUFFER_OVERFLOW;
    if (room < Length)
        return STATUS_BUFFER_TOO_SMALL;
    RtlCopyMemory(data, Word, Length);
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI SetWord(PIRP irp, PKSIDENTIFIER request, PVOID data)
{
    ULONG bytes = IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength;
    Note(irp);
    if (bytes > sizeof Word)
        return STATUS_INVALID_BUFFER_SIZE;
    RtlCopyMemory(Word, data, bytes);
    Length = bytes;
    return STATUS_SUCCESS;
}

static const KSPROPERTY_ITEM Items[] = {
    {NUMBER, {GetNumber}, sizeof(KSPROPERTY), sizeof(ULONG), {SetNumber}, NULL, 0, NULL, NULL, sizeof(ULONG)},
    {TEXT, {GetWord}, sizeof(KSPROPERTY), 0, {SetWord}, NULL, 0, NULL, NULL, BY_SIZE_QUERY},
    {FIXED, {GetNumber}, sizeof(KSPROPERTY), sizeof(ULONG), {NULL}, NULL, 0, NULL, NULL, 0},
};
static const KSPROPERTY_SET Sets[] = {{&SetA, 3, Items, 0, NULL}};

static NTSTATUS Properties(PDEVICE_OBJECT device, PIRP irp)
{
    return KsPropertyHandler(irp, 1, Sets);
}

/* A KSIDENTIFIER where it need not be aligned to 8. */
struct type {
    GUID Set;
    ULONG Id;
    ULONG Flags;
};

struct block {
    GUID Set;
    ULONG Count;
    struct {
        struct type Type;
        ULONG Id;
        ULONG Length;
        ULONG Value;
    } Number;
    struct {
        struct type Type;
        ULONG Id;
        ULONG Length;
        char Value[8];
    } Word;
};

static NTSTATUS Whole(ULONG flags, PVOID data, ULONG bytes, ULONG_PTR *size)
{
    KSIDENTIFIER request;
    Identify(&request, &SetA, 0, flags);
    return Ask(IOCTL_KS_PROPERTY, &request, sizeof request, data, bytes, size);
}

/* A file object of the device, for routines that take one. */
static FILE_OBJECT File;

static const char *Start(void)
{
    CHECK(MakeDevice(Properties) == STATUS_SUCCESS);
    RtlZeroMemory(&File, sizeof File);
    File.Type = 5;
    File.DeviceObject = Device;
    Number = 42;
    RtlCopyMemory(Word, "Minus", 6);
    Length = 6;
    Requests = FromUser = 0;
    PASS;
}

static const ULONG Used = FIELD_OFFSET(struct block, Word.Value) + 6;

TEST(a_set_is_serialized)
{
    struct block block;
    KSIDENTIFIER request;
    ULONG value = 0;
    ULONG_PTR size = 0;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(Used == sizeof(GUID) + 4 + 2 * (sizeof(struct type) + 8) + 4 + 6);
    CHECK(Whole(KSPROPERTY_TYPE_SERIALIZESET, NULL, 0, &size) == STATUS_BUFFER_OVERFLOW && size == Used);
    CHECK(Whole(KSPROPERTY_TYPE_SERIALIZESET, &block, Used - 1, &size) == STATUS_BUFFER_TOO_SMALL);
    Requests = 0;
    CHECK(Whole(KSPROPERTY_TYPE_SERIALIZESET, &block, sizeof block, &size) == STATUS_SUCCESS && size == Used);
    /* One request a property, and one for the size of what does not say it. */
    CHECK(Requests == 3 && FromUser == 0);
    CHECK(IsGuid(&block.Set, &SetA) && block.Count == 2);
    CHECK(block.Number.Id == NUMBER && block.Number.Length == 4 && block.Number.Value == 42);
    CHECK(block.Word.Id == TEXT && block.Word.Length == 6 && block.Word.Value[0] == 'M' && !block.Word.Value[5]);
    Identify(&request, &SetA, TEXT, KSPROPERTY_TYPE_SERIALIZESIZE);
    CHECK(Ask(IOCTL_KS_PROPERTY, &request, sizeof request, &value, sizeof value, &size) == STATUS_SUCCESS && value == 6);
    /* And back. */
    block.Number.Value = 7;
    block.Word.Value[0] = 'D';
    Requests = 0;
    CHECK(Whole(KSPROPERTY_TYPE_UNSERIALIZESET, &block, Used, &size) == STATUS_SUCCESS && size == 0);
    CHECK(Requests == 2 && Number == 7 && Word[0] == 'D' && Length == 6);
    /* The whole is read before the first is written. */
    block.Number.Value = 8;
    CHECK(Whole(KSPROPERTY_TYPE_UNSERIALIZESET, &block, Used - 1, &size) == STATUS_INVALID_BUFFER_SIZE && Number == 7);
    block.Number.Value = 101;
    CHECK(Whole(KSPROPERTY_TYPE_UNSERIALIZESET, &block, Used, &size) == STATUS_INVALID_PARAMETER && Number == 7);
    block.Set = SetB;
    CHECK(Whole(KSPROPERTY_TYPE_UNSERIALIZESET, &block, Used, &size) == STATUS_INVALID_PARAMETER);
    DropDevice();
    PASS;
}

TEST(KsUnserializeObjectPropertiesFromRegistry)
{
    static WCHAR KeyPath[] = L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\Serialized", Below[] = L"Kept";
    UNICODE_STRING path, below, name;
    OBJECT_ATTRIBUTES attributes;
    struct block block;
    HANDLE parent, key;
    ULONG_PTR size;
    const char *failed = Start();
    if (failed)
        return failed;
    CHECK(Whole(KSPROPERTY_TYPE_SERIALIZESET, &block, sizeof block, &size) == STATUS_SUCCESS);
    RtlInitUnicodeString(&path, KeyPath);
    RtlInitUnicodeString(&below, Below);
    InitializeObjectAttributes(&attributes, &path, OBJ_KERNEL_HANDLE, NULL, NULL);
    CHECK(NT_SUCCESS(ZwCreateKey(&parent, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, NULL)));
    InitializeObjectAttributes(&attributes, &below, OBJ_KERNEL_HANDLE, parent, NULL);
    CHECK(NT_SUCCESS(ZwCreateKey(&key, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, NULL)));
    /* The names of the values say nothing. */
    RtlInitUnicodeString(&name, L"any name");
    CHECK(NT_SUCCESS(ZwSetValueKey(key, &name, 0, 3, &block, Used)));
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, NULL, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(KsUnserializeObjectPropertiesFromRegistry(NULL, key, NULL) == STATUS_INVALID_PARAMETER);
    Number = 1;
    Word[0] = '?';
    /* By the key, and by its parent and path. */
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, key, NULL) == STATUS_SUCCESS);
    CHECK(Number == 42 && Word[0] == 'M');
    Number = 1;
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, parent, &below) == STATUS_SUCCESS && Number == 42);
    RtlInitUnicodeString(&below, L"Missing");
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, parent, &below) == STATUS_OBJECT_NAME_NOT_FOUND);
    block.Number.Value = 200;
    CHECK(NT_SUCCESS(ZwSetValueKey(key, &name, 0, 3, &block, Used)));
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, key, NULL) == STATUS_INVALID_PARAMETER && Number == 42);
    CHECK(NT_SUCCESS(ZwSetValueKey(key, &name, 0, 3, &block, 7)));
    CHECK(KsUnserializeObjectPropertiesFromRegistry(&File, key, NULL) == STATUS_INVALID_BUFFER_SIZE);
    ZwClose(key);
    ZwClose(parent);
    DropDevice();
    PASS;
}
