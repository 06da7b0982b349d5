/* The registry; the test's Rust side fills it. */
#include "kernel2.h"

#define SERVICE L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\tester"
#define UTEXT(name, text) UNICODE_STRING name = { sizeof(text) - 2, sizeof(text), (PWSTR)text }

static NTSTATUS open_key(PHANDLE handle, PCWSTR path)
{
    UNICODE_STRING name;
    OBJECT_ATTRIBUTES attributes;
    RtlInitUnicodeString(&name, path);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    return ZwOpenKey(handle, KEY_ALL_ACCESS, &attributes);
}

TEST(ZwOpenKey)
{
    HANDLE key, child;
    OBJECT_ATTRIBUTES attributes;
    UTEXT(name, L"parameters");
    CHECK(open_key(&key, SERVICE L"\\Nothing") == STATUS_OBJECT_NAME_NOT_FOUND && !key);
    CHECK(open_key(&key, SERVICE) == STATUS_SUCCESS && key);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, key, NULL);
    CHECK(ZwOpenKey(&child, KEY_READ, &attributes) == STATUS_SUCCESS);
    CHECK(ZwClose(child) == STATUS_SUCCESS && ZwClose(key) == STATUS_SUCCESS && ZwClose(key) == STATUS_INVALID_HANDLE);
    PASS;
}
SAME(ZwClose, ZwOpenKey)

typedef NTSTATUS NTAPI open_ex(PHANDLE, ACCESS_MASK, POBJECT_ATTRIBUTES, ULONG);
TEST(ZwOpenKeyEx)
{
    HANDLE key;
    OBJECT_ATTRIBUTES attributes;
    UTEXT(name, SERVICE);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
    CHECK(((open_ex *)routine_of(L"ZwOpenKeyEx"))(&key, KEY_READ, &attributes, 0) == STATUS_SUCCESS);
    CHECK(((NTSTATUS (NTAPI *)(HANDLE))routine_of(L"NtClose"))(key) == STATUS_SUCCESS);
    PASS;
}
SAME(NtClose, ZwOpenKeyEx)

TEST(ZwQueryValueKey)
{
    HANDLE key;
    UTEXT(rate, L"FRAMERATE");
    UTEXT(text, L"Name");
    UTEXT(none, L"Absent");
    union {
        KEY_VALUE_PARTIAL_INFORMATION partial;
        KEY_VALUE_FULL_INFORMATION full;
        KEY_VALUE_BASIC_INFORMATION basic;
        char room[100];
    } answer;
    ULONG size;
    CHECK(open_key(&key, SERVICE) == STATUS_SUCCESS);
    CHECK(ZwQueryValueKey(key, &rate, KeyValuePartialInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(size == 16 && answer.partial.Type == REG_DWORD && answer.partial.DataLength == 4 && *(ULONG *)answer.partial.Data == 30);
    CHECK(ZwQueryValueKey(key, &rate, KeyValueFullInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(answer.full.NameLength == 18 && *(ULONG *)(answer.room + answer.full.DataOffset) == 30 && answer.full.Name[0] == L'F');
    CHECK(ZwQueryValueKey(key, &rate, KeyValueBasicInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(answer.basic.Type == REG_DWORD && answer.basic.NameLength == 18 && size == 12 + 18);
    CHECK(ZwQueryValueKey(key, &text, KeyValuePartialInformation, &answer, 4, &size) == STATUS_BUFFER_TOO_SMALL && size == 20);
    CHECK(ZwQueryValueKey(key, &text, KeyValuePartialInformation, &answer, 14, &size) == STATUS_BUFFER_OVERFLOW && size == 20);
    CHECK(answer.partial.DataLength == 8 && answer.partial.Data[0] == 'a');
    CHECK(ZwQueryValueKey(key, &none, KeyValuePartialInformation, &answer, 100, &size) == STATUS_OBJECT_NAME_NOT_FOUND);
    ZwClose(key);
    PASS;
}

TEST(ZwCreateKey)
{
    HANDLE key, child;
    ULONG how;
    OBJECT_ATTRIBUTES attributes;
    UTEXT(name, L"Made");
    UTEXT(deep, L"No\\Such\\Path");
    CHECK(open_key(&key, SERVICE L"\\Parameters") == STATUS_SUCCESS);
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, key, NULL);
    CHECK(ZwCreateKey(&child, KEY_ALL_ACCESS, &attributes, 0, NULL, REG_OPTION_VOLATILE, &how) == STATUS_SUCCESS && how == REG_CREATED_NEW_KEY);
    ZwClose(child);
    CHECK(ZwCreateKey(&child, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, &how) == STATUS_SUCCESS && how == REG_OPENED_EXISTING_KEY);
    CHECK(ZwFlushKey(child) == STATUS_SUCCESS && ZwDeleteKey(child) == STATUS_SUCCESS);
    CHECK(ZwQueryKey(child, KeyBasicInformation, NULL, 0, &how) == (NTSTATUS)0xC000017C);
    ZwClose(child);
    attributes.ObjectName = &deep;
    CHECK(ZwCreateKey(&child, KEY_ALL_ACCESS, &attributes, 0, NULL, 0, &how) == STATUS_OBJECT_NAME_NOT_FOUND);
    ZwClose(key);
    PASS;
}
SAME(ZwDeleteKey, ZwCreateKey)
SAME(ZwFlushKey, ZwCreateKey)

TEST(ZwSetValueKey)
{
    HANDLE key;
    UTEXT(name, L"Written");
    char answer[64];
    ULONG value = 77, size;
    CHECK(open_key(&key, SERVICE L"\\Parameters") == STATUS_SUCCESS);
    CHECK(ZwSetValueKey(key, &name, 0, REG_DWORD, &value, sizeof value) == STATUS_SUCCESS);
    CHECK(ZwQueryValueKey(key, &name, KeyValuePartialInformation, answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(*(ULONG *)((PKEY_VALUE_PARTIAL_INFORMATION)answer)->Data == 77);
    CHECK(ZwDeleteValueKey(key, &name) == STATUS_SUCCESS && ZwDeleteValueKey(key, &name) == STATUS_OBJECT_NAME_NOT_FOUND);
    ZwClose(key);
    PASS;
}
SAME(ZwDeleteValueKey, ZwSetValueKey)

TEST(ZwEnumerateKey)
{
    HANDLE key;
    union {
        KEY_BASIC_INFORMATION basic;
        KEY_NODE_INFORMATION node;
        KEY_FULL_INFORMATION full;
        struct { ULONG NameLength; WCHAR Name[1]; } name;
        char room[300];
    } answer;
    ULONG size;
    CHECK(open_key(&key, SERVICE L"\\Tree") == STATUS_SUCCESS);
    CHECK(ZwEnumerateKey(key, 0, KeyBasicInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(size == 16 + 6 && answer.basic.NameLength == 6 && answer.basic.Name[0] == L'O');
    CHECK(ZwEnumerateKey(key, 1, KeyNodeInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(answer.node.NameLength == 6 && answer.node.Name[0] == L'T');
    CHECK(ZwEnumerateKey(key, 2, KeyBasicInformation, &answer, sizeof answer, &size) == STATUS_NO_MORE_ENTRIES);
    CHECK(ZwEnumerateKey(key, 0, KeyBasicInformation, &answer, 8, &size) == STATUS_BUFFER_TOO_SMALL);
    CHECK(ZwEnumerateKey(key, 0, KeyBasicInformation, &answer, 18, &size) == STATUS_BUFFER_OVERFLOW);
    CHECK(ZwQueryKey(key, KeyFullInformation, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(answer.full.SubKeys == 2 && answer.full.MaxNameLen == 6 && answer.full.Values == 2 && answer.full.MaxValueNameLen == 2);
    CHECK(answer.full.MaxValueDataLen == 4);
    CHECK(ZwQueryKey(key, (KEY_INFORMATION_CLASS)3, &answer, sizeof answer, &size) == STATUS_SUCCESS);
    CHECK(answer.name.NameLength == sizeof SERVICE - 2 + 10 && answer.name.Name[0] == L'\\');
    ZwClose(key);
    PASS;
}
SAME(ZwQueryKey, ZwEnumerateKey)

TEST(ZwEnumerateValueKey)
{
    HANDLE key;
    char room[100];
    PKEY_VALUE_FULL_INFORMATION full = (PKEY_VALUE_FULL_INFORMATION)room;
    ULONG size;
    CHECK(open_key(&key, SERVICE L"\\Tree") == STATUS_SUCCESS);
    CHECK(ZwEnumerateValueKey(key, 0, KeyValueFullInformation, room, sizeof room, &size) == STATUS_SUCCESS);
    CHECK(full->Name[0] == L'a' && *(ULONG *)(room + full->DataOffset) == 1);
    CHECK(ZwEnumerateValueKey(key, 1, KeyValueFullInformation, room, sizeof room, &size) == STATUS_SUCCESS);
    CHECK(full->Name[0] == L'b' && *(ULONG *)(room + full->DataOffset) == 2);
    CHECK(ZwEnumerateValueKey(key, 2, KeyValueFullInformation, room, sizeof room, &size) == STATUS_NO_MORE_ENTRIES);
    ZwClose(key);
    PASS;
}

static int routine_calls;
static ULONG routine_types[8];
static NTSTATUS NTAPI on_value(PWSTR name, ULONG type, PVOID data, ULONG length, PVOID context, PVOID entry)
{
    if (routine_calls < 8)
        routine_types[routine_calls] = type;
    routine_calls++;
    *(ULONG *)context += length;
    return entry ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}

static const char *query(NTSTATUS (NTAPI *routine)(ULONG, PCWSTR, PRTL_QUERY_REGISTRY_TABLE, PVOID, PVOID))
{
    ULONG rate = 0, absent = 0, total = 0, fallback = 9, word = 5;
    UNICODE_STRING name = { 0 };
    struct { LONG size; ULONG type; char data[8]; } binary = { sizeof binary, 0, { 0 } };
    RTL_QUERY_REGISTRY_TABLE table[8] = { { 0 } };
    table[0].Flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_REQUIRED;
    table[0].Name = L"FrameRate";
    table[0].EntryContext = &rate;
    table[1].Flags = RTL_QUERY_REGISTRY_DIRECT;
    table[1].Name = L"Absent";
    table[1].EntryContext = &absent;
    table[1].DefaultType = REG_DWORD;
    table[1].DefaultData = &fallback;
    table[1].DefaultLength = sizeof fallback;
    table[2].Flags = RTL_QUERY_REGISTRY_DIRECT;
    table[2].Name = L"Name";
    table[2].EntryContext = &name;
    table[3].Flags = RTL_QUERY_REGISTRY_DIRECT;
    table[3].Name = L"Table";
    table[3].EntryContext = &binary;
    table[4].Flags = RTL_QUERY_REGISTRY_SUBKEY;
    table[4].Name = L"Tree";
    table[5].Flags = RTL_QUERY_REGISTRY_DIRECT;
    table[5].Name = L"b";
    table[5].EntryContext = &word;
    CHECK(routine(RTL_REGISTRY_SERVICES, L"tester", table, NULL, NULL) == STATUS_SUCCESS);
    CHECK(rate == 30 && absent == 9 && is_string(&name, L"abc") && word == 2);
    CHECK(binary.size == 6 && binary.type == REG_BINARY && same_bytes(binary.data, "\1\2\3\4\5\6", 6));
    CHECK(name.MaximumLength >= 8);
    RtlFreeUnicodeString(&name);

    RtlZeroMemory(table, sizeof table);
    table[0].Flags = RTL_QUERY_REGISTRY_REQUIRED;
    table[0].QueryRoutine = on_value;
    table[0].Name = L"Absent";
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE, table, &total, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    routine_calls = 0;
    table[0].Flags = 0;
    table[0].Name = L"Modes";
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE, table, &total, NULL) == STATUS_SUCCESS && routine_calls == 2);
    CHECK(routine_types[0] == REG_SZ && total == 10 + 10);
    routine_calls = 0;
    table[0].Flags = RTL_QUERY_REGISTRY_NOEXPAND;
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE, table, &total, NULL) == STATUS_SUCCESS && routine_calls == 1 && routine_types[0] == REG_MULTI_SZ);
    routine_calls = 0;
    table[0].Flags = RTL_QUERY_REGISTRY_NOVALUE;
    table[0].Name = NULL;
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE, table, &total, NULL) == STATUS_SUCCESS && routine_calls == 1 && routine_types[0] == REG_NONE);
    routine_calls = 0;
    table[0].Flags = 0;
    table[0].EntryContext = &total;
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE L"\\Tree", table, &total, NULL) == STATUS_UNSUCCESSFUL && routine_calls == 1);
    CHECK(routine(RTL_REGISTRY_ABSOLUTE, SERVICE L"\\None", table, &total, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(routine(RTL_REGISTRY_ABSOLUTE | RTL_REGISTRY_OPTIONAL, SERVICE L"\\None", table, &total, NULL) == STATUS_SUCCESS);
    PASS;
}

TEST(RtlQueryRegistryValues)
{
    return query(RtlQueryRegistryValues);
}

TEST(RtlQueryRegistryValuesEx)
{
    return query((NTSTATUS (NTAPI *)(ULONG, PCWSTR, PRTL_QUERY_REGISTRY_TABLE, PVOID, PVOID))routine_of(L"RtlQueryRegistryValuesEx"));
}

TEST(RtlWriteRegistryValue)
{
    ULONG value = 5, read = 0;
    RTL_QUERY_REGISTRY_TABLE table[2] = { { 0 } };
    CHECK(RtlCheckRegistryKey(RTL_REGISTRY_SERVICES, L"tester\\Fresh") == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(RtlWriteRegistryValue(RTL_REGISTRY_SERVICES, L"tester\\Fresh", L"v", REG_DWORD, &value, sizeof value) == STATUS_SUCCESS);
    CHECK(RtlCheckRegistryKey(RTL_REGISTRY_SERVICES, L"tester\\Fresh") == STATUS_SUCCESS);
    table[0].Flags = RTL_QUERY_REGISTRY_DIRECT | RTL_QUERY_REGISTRY_REQUIRED | RTL_QUERY_REGISTRY_DELETE;
    table[0].Name = L"v";
    table[0].EntryContext = &read;
    CHECK(RtlQueryRegistryValues(RTL_REGISTRY_SERVICES, L"tester\\Fresh", table, NULL, NULL) == STATUS_SUCCESS && read == 5);
    CHECK(RtlDeleteRegistryValue(RTL_REGISTRY_SERVICES, L"tester\\Fresh", L"v") == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(RtlCreateRegistryKey(RTL_REGISTRY_SERVICES, L"tester\\Fresh\\Deeper") == STATUS_SUCCESS);
    CHECK(RtlCheckRegistryKey(RTL_REGISTRY_SERVICES, L"tester\\Fresh\\Deeper") == STATUS_SUCCESS);
    {
        HANDLE key;
        CHECK(open_key(&key, SERVICE L"\\Fresh\\Deeper") == STATUS_SUCCESS && ZwDeleteKey(key) == STATUS_SUCCESS);
        ZwClose(key);
        CHECK(open_key(&key, SERVICE L"\\Fresh") == STATUS_SUCCESS && ZwDeleteKey(key) == STATUS_SUCCESS);
        ZwClose(key);
    }
    PASS;
}
SAME(RtlCheckRegistryKey, RtlWriteRegistryValue)
SAME(RtlCreateRegistryKey, RtlWriteRegistryValue)
SAME(RtlDeleteRegistryValue, RtlWriteRegistryValue)

TEST(IoOpenDeviceRegistryKey)
{
    HANDLE key, parent;
    UTEXT(name, L"FriendlyName");
    UTEXT(link, L"\\??\\ROOT#USERKS#0000");
    char answer[64];
    ULONG size;
    PDEVICE_OBJECT device;
    CHECK(IoCreateDevice(NULL, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    CHECK(IoOpenDeviceRegistryKey(device, PLUGPLAY_REGKEY_DEVICE, KEY_READ, &key) == STATUS_SUCCESS);
    CHECK(ZwQueryValueKey(key, &name, KeyValuePartialInformation, answer, sizeof answer, &size) == STATUS_SUCCESS);
    ZwClose(key);
    CHECK(IoOpenDeviceRegistryKey(device, PLUGPLAY_REGKEY_DRIVER, KEY_READ, &key) == STATUS_SUCCESS);
    ZwClose(key);
    CHECK(IoOpenDeviceRegistryKey(NULL, PLUGPLAY_REGKEY_DRIVER, KEY_READ, &key) == STATUS_INVALID_PARAMETER);
    CHECK(IoOpenDeviceInterfaceRegistryKey(&link, KEY_READ, &key) == STATUS_SUCCESS);
    ZwClose(key);
    CHECK(((NTSTATUS (NTAPI *)(PDRIVER_OBJECT, int, ACCESS_MASK, ULONG, PHANDLE))routine_of(L"IoOpenDriverRegistryKey"))(NULL, 0, KEY_READ, 0, &parent) == STATUS_SUCCESS);
    ZwClose(parent);
    IoDeleteDevice(device);
    PASS;
}
SAME(IoOpenDeviceInterfaceRegistryKey, IoOpenDeviceRegistryKey)
SAME(IoOpenDriverRegistryKey, IoOpenDeviceRegistryKey)

typedef NTSTATUS NTAPI duplicate(HANDLE, HANDLE, HANDLE, PHANDLE, ACCESS_MASK, ULONG, ULONG);
typedef NTSTATUS NTAPI close_handle(HANDLE, KPROCESSOR_MODE);
TEST(ZwDuplicateObject)
{
    HANDLE key, copy;
    ULONG size;
    CHECK(open_key(&key, SERVICE) == STATUS_SUCCESS);
    CHECK(((duplicate *)routine_of(L"ZwDuplicateObject"))((HANDLE)-1, key, (HANDLE)-1, &copy, 0, 0, 2) == STATUS_SUCCESS);
    CHECK(ZwClose(key) == STATUS_SUCCESS);
    CHECK(ZwQueryKey(copy, KeyBasicInformation, NULL, 0, &size) == STATUS_BUFFER_TOO_SMALL);
    CHECK(((BOOLEAN (NTAPI *)(HANDLE))routine_of(L"ObIsKernelHandle"))(copy));
    CHECK(ZwMakeTemporaryObject(copy) == STATUS_SUCCESS);
    CHECK(((close_handle *)routine_of(L"ObCloseHandle"))(copy, KernelMode) == STATUS_SUCCESS);
    PASS;
}
SAME(ObCloseHandle, ZwDuplicateObject)
SAME(ObIsKernelHandle, ZwDuplicateObject)
SAME(ZwMakeTemporaryObject, ZwDuplicateObject)
