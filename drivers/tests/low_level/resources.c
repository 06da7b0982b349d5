/*
 * Resources of the driver's own image, a filter without pins, and a question about the process.
 *
 * The resources are written here as a compiler of resources would: a table of types, one of names, one of languages.
 */
#include "low_level.h"

__asm__(".section .rsrc, \"dr\"\n"
        "resources:\n"
        /* Types: RCDATA (10). */
        "  .long 0, 0, 0\n  .short 0, 1\n  .long 10, 0x80000000 + names - resources\n"
        /* Names: \"TABLE\" and 7. */
        "names:\n"
        "  .long 0, 0, 0\n  .short 1, 1\n"
        "  .long 0x80000000 + name - resources, 0x80000000 + table - resources\n"
        "  .long 7, 0x80000000 + number - resources\n"
        /* Languages: one each. */
        "table:\n  .long 0, 0, 0\n  .short 0, 1\n  .long 1033, table_data - resources\n"
        "number:\n  .long 0, 0, 0\n  .short 0, 1\n  .long 1033, number_data - resources\n"
        "table_data:\n  .rva table_bytes\n  .long 9, 0, 0\n"
        "number_data:\n  .rva number_bytes\n  .long 4, 0, 0\n"
        "name:\n  .short 5, 'T', 'A', 'B', 'L', 'E'\n"
        "table_bytes:\n  .ascii \"resource!\"\n  .balign 4\n"
        "number_bytes:\n  .long 0x12345678\n"
        ".text\n");

/* Given by the linker. */
extern UCHAR __ImageBase[];
#define RCDATA 10

TEST(KsLoadResource)
{
    PVOID resource = NULL;
    ULONG bytes = 0;
    static const UCHAR nothing[64];
    CHECK(KsLoadResource(__ImageBase, PagedPool, 7, RCDATA, &resource, &bytes) == STATUS_SUCCESS);
    CHECK(bytes == 4 && *(ULONG *)resource == 0x12345678);
    /* It is a copy of the driver's own. */
    *(ULONG *)resource = 0;
    ExFreePool(resource);
    CHECK(KsLoadResource(__ImageBase, NonPagedPool, 7, RCDATA, &resource, NULL) == STATUS_SUCCESS);
    CHECK(*(ULONG *)resource == 0x12345678);
    ExFreePool(resource);
    CHECK(KsLoadResource(__ImageBase, PagedPool, (ULONG_PTR)L"table", RCDATA, &resource, &bytes) == STATUS_SUCCESS);
    CHECK(bytes == 9 && RtlCompareMemory(resource, "resource!", 9) == 9);
    ExFreePool(resource);
    resource = NULL;
    CHECK(KsLoadResource(__ImageBase, PagedPool, 7, 6, &resource, &bytes) == (NTSTATUS)0xC000008A);
    CHECK(KsLoadResource(__ImageBase, PagedPool, 8, RCDATA, &resource, &bytes) == (NTSTATUS)0xC000008B);
    CHECK(KsLoadResource(__ImageBase, PagedPool, (ULONG_PTR)L"TABLES", RCDATA, &resource, &bytes) == (NTSTATUS)0xC000008B);
    CHECK(KsLoadResource((PVOID)nothing, PagedPool, 7, RCDATA, &resource, &bytes) == STATUS_INVALID_IMAGE_FORMAT);
    CHECK(!resource && bytes == 9);
    PASS;
}

SYS BOOLEAN NTAPI KsIsCurrentProcessFrameServer(void);

TEST(KsIsCurrentProcessFrameServer)
{
    CHECK(!KsIsCurrentProcessFrameServer());
    PASS;
}

/* Bytes of a value below FilterData, or a negative number. */
static LONG ValueOf(HANDLE key, PCWSTR name, PVOID into, ULONG room)
{
    static UCHAR buffer[256];
    PKEY_VALUE_PARTIAL_INFORMATION value = (PKEY_VALUE_PARTIAL_INFORMATION)buffer;
    UNICODE_STRING string;
    ULONG needed;
    RtlInitUnicodeString(&string, name);
    if (ZwQueryValueKey(key, &string, KeyValuePartialInformation, value, sizeof buffer, &needed) != STATUS_SUCCESS)
        return -1;
    if (value->Type != REG_BINARY || value->DataLength > room)
        return -2;
    RtlCopyMemory(into, value->Data, value->DataLength);
    return (LONG)value->DataLength;
}

TEST(KsRegisterFilterWithNoKSPins)
{
    /* A wire, and the standard medium, which names none. */
    static const GUID wire = {0x61a3c2b4, 0x1b83, 0x4f0c, {1, 2, 3, 4, 5, 6, 7, 8}};
    static const GUID standard = {STATIC_KSMEDIUMSETID_Standard};
    KSPIN_MEDIUM mediums[2], read[2];
    WINBOOL directions[2] = {TRUE, FALSE}, seen[2];
    GUID categories[2] = {SetA, SetB}, found[2];
    UNICODE_STRING path, link;
    OBJECT_ATTRIBUTES about;
    PWSTR list;
    HANDLE key, data;
    RtlZeroMemory(mediums, sizeof mediums);
    mediums[0].Set = wire;
    mediums[0].Id = 5;
    mediums[0].Flags = 6;
    mediums[1].Set = standard;
    CHECK(MakeDevice(NULL) == STATUS_SUCCESS);
    CHECK(KsRegisterFilterWithNoKSPins(Device, &SetA, 0, directions, mediums, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(KsRegisterFilterWithNoKSPins(Device, &SetA, 2, NULL, mediums, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(KsRegisterFilterWithNoKSPins(Device, &SetA, 2, directions, NULL, NULL) == STATUS_INVALID_PARAMETER);
    CHECK(IoGetDeviceInterfaces(&SetA, Device, DEVICE_INTERFACE_INCLUDE_NONACTIVE, &list) == STATUS_SUCCESS && !list[0]);
    ExFreePool(list);
    CHECK(KsRegisterFilterWithNoKSPins(Device, &SetA, 2, directions, mediums, categories) == STATUS_SUCCESS);
    CHECK(IoGetDeviceInterfaces(&SetA, Device, DEVICE_INTERFACE_INCLUDE_NONACTIVE, &list) == STATUS_SUCCESS && list[0]);
    RtlInitUnicodeString(&link, list);
    CHECK(IoOpenDeviceInterfaceRegistryKey(&link, KEY_READ, &key) == STATUS_SUCCESS);
    RtlInitUnicodeString(&path, L"FilterData");
    InitializeObjectAttributes(&about, &path, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, key, NULL);
    CHECK(ZwOpenKey(&data, KEY_READ, &about) == STATUS_SUCCESS);
    CHECK(ValueOf(data, L"Directions", seen, sizeof seen) == sizeof seen && seen[0] == TRUE && seen[1] == FALSE);
    CHECK(ValueOf(data, L"Mediums", read, sizeof read) == sizeof read);
    CHECK(RtlCompareMemory(read, mediums, sizeof read) == sizeof read);
    CHECK(ValueOf(data, L"Categories", found, sizeof found) == sizeof found);
    CHECK(RtlCompareMemory(found, categories, sizeof found) == sizeof found);
    ZwClose(data);
    ZwClose(key);
    /* The wire is in the cache, by the link. */
    RtlInitUnicodeString(&path, L"\\Registry\\Machine\\System\\CurrentControlSet\\Control\\MediumCache"
                                L"\\{61A3C2B4-1B83-4F0C-0102-030405060708}\\5\\6");
    InitializeObjectAttributes(&about, &path, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    CHECK(ZwOpenKey(&key, KEY_READ, &about) == STATUS_SUCCESS);
    {
        UCHAR buffer[64];
        PKEY_VALUE_PARTIAL_INFORMATION value = (PKEY_VALUE_PARTIAL_INFORMATION)buffer;
        ULONG needed;
        CHECK(ZwQueryValueKey(key, &link, KeyValuePartialInformation, value, sizeof buffer, &needed) == STATUS_SUCCESS);
        CHECK(value->Type == REG_DWORD && *(ULONG *)value->Data == 1);
    }
    ZwClose(key);
    ExFreePool(list);
    DropDevice();
    PASS;
}
