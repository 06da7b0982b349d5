/* Device interfaces, power, tracing, security, versions. */
#include "kernel2.h"

static const GUID class_guid = { 0x65E8773D, 0x8F56, 0x11D0, { 0xA3, 0xB9, 0x00, 0xA0, 0xC9, 0x22, 0x31, 0x96 } };
static const GUID other_guid = { 0x65E8773E, 0x8F56, 0x11D0, { 0xA3, 0xB9, 0x00, 0xA0, 0xC9, 0x22, 0x31, 0x96 } };

#define CALL(type, name) ((type)routine_of(L"" #name))

TEST(IoRegisterDeviceInterface)
{
    PDEVICE_OBJECT device;
    UNICODE_STRING reference, link, again, other, alias;
    PWSTR list;
    CHECK(IoCreateDevice(NULL, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    RtlInitUnicodeString(&reference, L"GLOBAL");
    CHECK(IoRegisterDeviceInterface(device, &class_guid, &reference, &link) == STATUS_SUCCESS);
    CHECK(IoRegisterDeviceInterface(device, &class_guid, &reference, &again) == STATUS_SUCCESS);
    CHECK(RtlEqualUnicodeString(&link, &again, FALSE) && link.Buffer != again.Buffer && link.Buffer[0] == L'\\');
    CHECK(IoRegisterDeviceInterface(NULL, &class_guid, NULL, &again) == STATUS_INVALID_PARAMETER);
    CHECK(IoGetDeviceInterfaces(&class_guid, device, 0, &list) == STATUS_SUCCESS && !list[0]);
    ExFreePool(list);
    CHECK(IoGetDeviceInterfaces(&class_guid, device, DEVICE_INTERFACE_INCLUDE_NONACTIVE, &list) == STATUS_SUCCESS && list[0]);
    ExFreePool(list);
    CHECK(IoSetDeviceInterfaceState(&link, TRUE) == STATUS_SUCCESS);
    CHECK(IoSetDeviceInterfaceState(&link, TRUE) == STATUS_OBJECT_NAME_EXISTS);
    CHECK(IoGetDeviceInterfaces(&class_guid, NULL, 0, &list) == STATUS_SUCCESS && is_string(&link, list));
    ExFreePool(list);
    CHECK(IoRegisterDeviceInterface(device, &other_guid, &reference, &other) == STATUS_SUCCESS);
    CHECK(IoGetDeviceInterfaceAlias(&link, &other_guid, &alias) == STATUS_SUCCESS && RtlEqualUnicodeString(&alias, &other, TRUE));
    CHECK(IoSetDeviceInterfaceState(&link, FALSE) == STATUS_SUCCESS);
    CHECK(IoSetDeviceInterfaceState(&link, FALSE) == STATUS_OBJECT_NAME_NOT_FOUND);
    RtlFreeUnicodeString(&alias);
    RtlFreeUnicodeString(&other);
    RtlFreeUnicodeString(&again);
    RtlFreeUnicodeString(&link);
    IoDeleteDevice(device);
    PASS;
}
SAME(IoSetDeviceInterfaceState, IoRegisterDeviceInterface)
SAME(IoGetDeviceInterfaces, IoRegisterDeviceInterface)
SAME(IoGetDeviceInterfaceAlias, IoRegisterDeviceInterface)

typedef NTSTATUS NTAPI get_data(PDEVICE_OBJECT, const void *, LCID, ULONG, ULONG, PVOID, PULONG, PULONG);
typedef NTSTATUS NTAPI set_data(PDEVICE_OBJECT, const void *, LCID, ULONG, ULONG, ULONG, PVOID);
typedef NTSTATUS NTAPI numa(PDEVICE_OBJECT, PUSHORT);
/* A DEVPROPKEY. */
static const struct {
    GUID category;
    ULONG number;
} key = { { 0x8dbc9c86, 0x97a9, 0x4bff, { 0x9b, 0xc6, 0xbf, 0xe9, 0x5d, 0x3e, 0x6d, 0xad } }, 2 };

TEST(IoGetDeviceProperty)
{
    PDEVICE_OBJECT device;
    WCHAR text[64];
    ULONG size, kind;
    USHORT node = 9;
    CHECK(IoCreateDevice(NULL, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    CHECK(IoGetDeviceProperty(device, DevicePropertyEnumeratorName, sizeof text, text, &size) == STATUS_SUCCESS);
    CHECK(same_wide(text, L"ROOT") && size == 10);
    CHECK(IoGetDeviceProperty(device, DevicePropertyEnumeratorName, 4, text, &size) == STATUS_BUFFER_TOO_SMALL && size == 10);
    CHECK(IoGetDeviceProperty(device, DevicePropertyFriendlyName, sizeof text, text, &size) == STATUS_SUCCESS);
    CHECK(IoGetDeviceProperty(device, DevicePropertyBusNumber, sizeof text, text, &size) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(get_data *, IoGetDevicePropertyData)(device, &key, 0, 0, 0, NULL, &size, &kind) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(set_data *, IoSetDevicePropertyData)(device, &key, 0, 0, 18, 10, L"left") == STATUS_SUCCESS);
    CHECK(CALL(get_data *, IoGetDevicePropertyData)(device, &key, 0, 0, 9, text, &size, &kind) == STATUS_BUFFER_TOO_SMALL);
    CHECK(size == 10 && kind == 18);
    CHECK(CALL(get_data *, IoGetDevicePropertyData)(device, &key, 0, 0, sizeof text, text, &size, &kind) == STATUS_SUCCESS);
    CHECK(same_wide(text, L"left") && size == 10 && kind == 18);
    CHECK(CALL(get_data *, IoGetDevicePropertyData)(device, &key, 1033, 0, sizeof text, text, &size, &kind) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(set_data *, IoSetDevicePropertyData)(device, &key, 0, 0, 0, 0, NULL) == STATUS_SUCCESS);
    CHECK(CALL(set_data *, IoSetDevicePropertyData)(device, &key, 0, 0, 0, 0, NULL) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(get_data *, IoGetDevicePropertyData)(device, &key, 0, 0, sizeof text, text, &size, &kind) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(numa *, IoGetDeviceNumaNode)(device, &node) == STATUS_SUCCESS && node == 0);
    IoDeleteDevice(device);
    PASS;
}
SAME(IoGetDevicePropertyData, IoGetDeviceProperty)
SAME(IoSetDevicePropertyData, IoGetDeviceProperty)
SAME(IoGetDeviceNumaNode, IoGetDeviceProperty)

typedef NTSTATUS NTAPI get_link_data(PUNICODE_STRING, const void *, LCID, ULONG, ULONG, PVOID, PULONG, PULONG);
typedef NTSTATUS NTAPI set_link_data(PUNICODE_STRING, const void *, LCID, ULONG, ULONG, ULONG, PVOID);
TEST(IoSetDeviceInterfacePropertyData)
{
    PDEVICE_OBJECT device;
    UNICODE_STRING link, unknown;
    ULONG panel = 4, size, kind;
    CHECK(IoCreateDevice(NULL, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    CHECK(IoRegisterDeviceInterface(device, &class_guid, NULL, &link) == STATUS_SUCCESS);
    RtlInitUnicodeString(&unknown, L"\\??\\nobody");
    CHECK(CALL(set_link_data *, IoSetDeviceInterfacePropertyData)(&unknown, &key, 0, 1, 7, 4, &panel) == STATUS_OBJECT_NAME_NOT_FOUND);
    CHECK(CALL(set_link_data *, IoSetDeviceInterfacePropertyData)(&link, &key, 0, 1, 7, 4, &panel) == STATUS_SUCCESS);
    panel = 0;
    CHECK(CALL(get_link_data *, IoGetDeviceInterfacePropertyData)(&link, &key, 0, 0, 4, &panel, &size, &kind) == STATUS_SUCCESS);
    CHECK(panel == 4 && size == 4 && kind == 7);
    CHECK(CALL(get_link_data *, IoGetDeviceInterfacePropertyData)(&unknown, &key, 0, 0, 4, &panel, &size, &kind) == STATUS_OBJECT_NAME_NOT_FOUND);
    RtlFreeUnicodeString(&link);
    IoDeleteDevice(device);
    PASS;
}
SAME(IoGetDeviceInterfacePropertyData, IoSetDeviceInterfacePropertyData)

typedef NTSTATUS NTAPI open_provider(PVOID *, PCWSTR, PCWSTR, ULONG);
typedef NTSTATUS NTAPI close_provider(PVOID, ULONG);
typedef NTSTATUS NTAPI generate(PVOID, PUCHAR, ULONG, ULONG);
TEST(BCryptGenRandom)
{
    UCHAR bytes[64] = { 0 }, others[64] = { 0 };
    PVOID provider = NULL;
    ULONG at, zeros = 0;
    CHECK(CALL(generate *, BCryptGenRandom)(NULL, bytes, 60, 2) == STATUS_SUCCESS);
    for (at = 0; at < 60; at++)
        zeros += bytes[at] == 0;
    CHECK(zeros < 20 && !bytes[60] && !bytes[63]);
    CHECK(CALL(generate *, BCryptGenRandom)(NULL, bytes, 60, 0) == STATUS_INVALID_HANDLE);
    CHECK(CALL(open_provider *, BCryptOpenAlgorithmProvider)(&provider, L"SHA256", NULL, 0) == STATUS_NOT_FOUND && !provider);
    CHECK(CALL(open_provider *, BCryptOpenAlgorithmProvider)(&provider, L"RNG", NULL, 0) == STATUS_SUCCESS && provider);
    CHECK(CALL(generate *, BCryptGenRandom)(provider, others, 60, 0) == STATUS_SUCCESS && !same_bytes(bytes, others, 60));
    CHECK(CALL(close_provider *, BCryptCloseAlgorithmProvider)(provider, 0) == STATUS_SUCCESS);
    CHECK(CALL(close_provider *, BCryptCloseAlgorithmProvider)(NULL, 0) == STATUS_INVALID_HANDLE);
    PASS;
}
SAME(BCryptOpenAlgorithmProvider, BCryptGenRandom)
SAME(BCryptCloseAlgorithmProvider, BCryptGenRandom)

static NTSTATUS NTAPI notified(PVOID notification, PVOID context) { return STATUS_SUCCESS; }
typedef NTSTATUS NTAPI change(PDEVICE_OBJECT, PVOID);
typedef NTSTATUS NTAPI change_later(PDEVICE_OBJECT, PVOID, PVOID, PVOID);
TEST(IoRegisterPlugPlayNotification)
{
    PVOID entry = NULL;
    DRIVER_OBJECT driver = { 0 };
    CHECK(IoRegisterPlugPlayNotification(EventCategoryDeviceInterfaceChange, 0, (PVOID)&class_guid, &driver, (PVOID)notified, NULL, &entry) == STATUS_SUCCESS && entry);
    CHECK(IoUnregisterPlugPlayNotification(entry) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID), IoUnregisterPlugPlayNotificationEx)(entry) == STATUS_SUCCESS);
    IoInvalidateDeviceRelations(NULL, BusRelations);
    IoInvalidateDeviceState(NULL);
    IoRequestDeviceEject(NULL);
    CHECK(CALL(change *, IoReportTargetDeviceChange)(NULL, NULL) == STATUS_SUCCESS);
    CHECK(CALL(change_later *, IoReportTargetDeviceChangeAsynchronous)(NULL, NULL, NULL, NULL) == STATUS_SUCCESS);
    PASS;
}
SAME(IoUnregisterPlugPlayNotification, IoRegisterPlugPlayNotification)
SAME(IoUnregisterPlugPlayNotificationEx, IoRegisterPlugPlayNotification)
SAME(IoInvalidateDeviceRelations, IoRegisterPlugPlayNotification)
SAME(IoInvalidateDeviceState, IoRegisterPlugPlayNotification)
SAME(IoRequestDeviceEject, IoRegisterPlugPlayNotification)
SAME(IoReportTargetDeviceChange, IoRegisterPlugPlayNotification)
SAME(IoReportTargetDeviceChangeAsynchronous, IoRegisterPlugPlayNotification)

static int powered, ended_state;
static PIRP *held_power;
static NTSTATUS NTAPI on_power(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    powered = stack->Parameters.Power.Type == DevicePowerState ? (int)stack->Parameters.Power.State.DeviceState : -1;
    if (held_power && !*held_power) {
        IoMarkIrpPending(irp);
        *held_power = irp;
        return STATUS_PENDING;
    }
    PoStartNextPowerIrp(irp);
    irp->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}
static VOID NTAPI power_ended(PDEVICE_OBJECT device, UCHAR minor, POWER_STATE state, PVOID context, PIO_STATUS_BLOCK block)
{
    *(NTSTATUS *)context = block->Status;
    ended_state = state.DeviceState;
}

TEST(PoRequestPowerIrp)
{
    DRIVER_OBJECT driver = { 0 };
    PDEVICE_OBJECT device;
    POWER_STATE state;
    NTSTATUS status = STATUS_UNSUCCESSFUL, second = STATUS_UNSUCCESSFUL;
    PIRP irp, held = NULL;
    driver.MajorFunction[IRP_MJ_POWER] = on_power;
    CHECK(IoCreateDevice(&driver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    state.DeviceState = PowerDeviceD3;
    CHECK(PoRequestPowerIrp(device, IRP_MN_SET_POWER, state, power_ended, &status, NULL) == STATUS_PENDING);
    CHECK(powered == PowerDeviceD3 && status == STATUS_SUCCESS && ended_state == PowerDeviceD3);
    /* One at a time: the second and the third are sent when the one before has ended. */
    held_power = &held;
    CHECK(PoRequestPowerIrp(device, IRP_MN_SET_POWER, state, power_ended, &status, NULL) == STATUS_PENDING && held);
    state.DeviceState = PowerDeviceD1;
    CHECK(PoRequestPowerIrp(device, IRP_MN_QUERY_POWER, state, power_ended, &status, NULL) == STATUS_PENDING);
    state.DeviceState = PowerDeviceD0;
    CHECK(PoRequestPowerIrp(device, IRP_MN_SET_POWER, state, power_ended, &second, NULL) == STATUS_PENDING);
    CHECK(powered == PowerDeviceD3 && second == STATUS_UNSUCCESSFUL);
    held->IoStatus.Status = STATUS_SUCCESS;
    IofCompleteRequest(held, IO_NO_INCREMENT);
    CHECK(powered == PowerDeviceD0 && second == STATUS_SUCCESS && ended_state == PowerDeviceD0);
    held_power = NULL;
    CHECK(PoRequestPowerIrp(device, 77, state, power_ended, &status, NULL) == STATUS_INVALID_PARAMETER_2);
    CHECK(PoSetPowerState(device, DevicePowerState, state).DeviceState == PowerDeviceD0);
    irp = IoAllocateIrp(1, FALSE);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_POWER;
    CHECK(!CALL(BOOLEAN (NTAPI *)(PIRP), PoGetSystemWake)(irp));
    CALL(VOID (NTAPI *)(PIRP), PoSetSystemWake)(irp);
    IoFreeIrp(irp);
    IoDeleteDevice(device);
    PASS;
}
SAME(PoStartNextPowerIrp, PoRequestPowerIrp)
SAME(PoSetPowerState, PoRequestPowerIrp)
SAME(PoGetSystemWake, PoRequestPowerIrp)
SAME(PoSetSystemWake, PoRequestPowerIrp)

static NTSTATUS NTAPI keep(PDEVICE_OBJECT device, PIRP irp, PVOID context) { return STATUS_MORE_PROCESSING_REQUIRED; }
TEST(PoCallDriver)
{
    DRIVER_OBJECT driver = { 0 };
    PDEVICE_OBJECT device;
    PIRP irp = IoAllocateIrp(1, FALSE);
    driver.MajorFunction[IRP_MJ_POWER] = on_power;
    CHECK(IoCreateDevice(&driver, 0, NULL, FILE_DEVICE_KS, 0, FALSE, &device) == STATUS_SUCCESS);
    IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_POWER;
    IoSetCompletionRoutine(irp, keep, NULL, TRUE, TRUE, TRUE);
    CHECK(PoCallDriver(device, irp) == STATUS_SUCCESS && powered == -1);
    IoFreeIrp(irp);
    IoDeleteDevice(device);
    PASS;
}

TEST(PoRegisterSystemState)
{
    PVOID handle = CALL(PVOID (NTAPI *)(PVOID, ULONG), PoRegisterSystemState)(NULL, 1), request = NULL;
    CHECK(handle);
    CALL(VOID (NTAPI *)(PVOID), PoUnregisterSystemState)(handle);
    CALL(VOID (NTAPI *)(ULONG), PoSetSystemState)(1);
    CHECK(!CALL(PULONG (NTAPI *)(PVOID, ULONG, ULONG, ULONG), PoRegisterDeviceForIdleDetection)(NULL, 1, 1, 4));
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID, const GUID *, PVOID, PVOID, PVOID *), PoRegisterPowerSettingCallback)(NULL, &class_guid, NULL, NULL, &handle) == STATUS_SUCCESS && handle);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID), PoUnregisterPowerSettingCallback)(handle) == STATUS_SUCCESS);
    CALL(VOID (NTAPI *)(PULONG), PoStartDeviceBusy)(NULL);
    CALL(VOID (NTAPI *)(PULONG), PoEndDeviceBusy)(NULL);
    CALL(VOID (NTAPI *)(PULONG), PoSetDeviceBusyEx)(NULL);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID *, PVOID, PVOID), PoCreatePowerRequest)(&request, NULL, NULL) == STATUS_SUCCESS && request);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID, ULONG), PoSetPowerRequest)(request, 1) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID, ULONG), PoClearPowerRequest)(request, 1) == STATUS_SUCCESS);
    CALL(VOID (NTAPI *)(PVOID), PoDeletePowerRequest)(request);
    PASS;
}
SAME(PoUnregisterSystemState, PoRegisterSystemState)
SAME(PoSetSystemState, PoRegisterSystemState)
SAME(PoRegisterDeviceForIdleDetection, PoRegisterSystemState)
SAME(PoRegisterPowerSettingCallback, PoRegisterSystemState)
SAME(PoUnregisterPowerSettingCallback, PoRegisterSystemState)
SAME(PoStartDeviceBusy, PoRegisterSystemState)
SAME(PoEndDeviceBusy, PoRegisterSystemState)
SAME(PoSetDeviceBusyEx, PoRegisterSystemState)
SAME(PoCreatePowerRequest, PoRegisterSystemState)
SAME(PoSetPowerRequest, PoRegisterSystemState)
SAME(PoClearPowerRequest, PoRegisterSystemState)
SAME(PoDeletePowerRequest, PoRegisterSystemState)

TEST(EtwRegister)
{
    ULONGLONG handle = 0;
    GUID id = { 0 }, zero = { 0 };
    char event[16] = { 0 };
    CHECK(CALL(NTSTATUS (NTAPI *)(const GUID *, PVOID, PVOID, ULONGLONG *), EtwRegister)(&class_guid, NULL, NULL, &handle) == STATUS_SUCCESS && handle);
    CHECK(CALL(NTSTATUS (NTAPI *)(const GUID *, ULONG, PVOID, PVOID, ULONGLONG *), EtwRegisterClassicProvider)(&class_guid, 0, NULL, NULL, &handle) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, ULONG, PVOID, ULONG), EtwSetInformation)(handle, 1, event, 4) == STATUS_SUCCESS);
    CHECK(!CALL(BOOLEAN (NTAPI *)(ULONGLONG, PVOID), EtwEventEnabled)(handle, event));
    CHECK(!CALL(BOOLEAN (NTAPI *)(ULONGLONG, UCHAR, ULONGLONG), EtwProviderEnabled)(handle, 4, 1));
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, PVOID, const GUID *, ULONG, PVOID), EtwWrite)(handle, event, NULL, 0, NULL) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, PVOID, ULONGLONG, ULONG, const GUID *, const GUID *, ULONG, PVOID), EtwWriteEx)(handle, event, 0, 0, NULL, NULL, 0, NULL) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, PVOID, const GUID *, const GUID *, ULONG, PVOID), EtwWriteTransfer)(handle, event, NULL, NULL, 0, NULL) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, UCHAR, ULONGLONG, const GUID *, PCWSTR), EtwWriteString)(handle, 4, 1, NULL, L"text") == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONG, GUID *), EtwActivityIdControl)(3, &id) == STATUS_SUCCESS && !same_bytes(&id, &zero, sizeof id));
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONG, GUID *), EtwActivityIdControl)(9, &id) == STATUS_INVALID_PARAMETER);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG), EtwUnregister)(handle) == STATUS_SUCCESS);
    PASS;
}
SAME(EtwRegisterClassicProvider, EtwRegister)
SAME(EtwSetInformation, EtwRegister)
SAME(EtwEventEnabled, EtwRegister)
SAME(EtwProviderEnabled, EtwRegister)
SAME(EtwWrite, EtwRegister)
SAME(EtwWriteEx, EtwRegister)
SAME(EtwWriteTransfer, EtwRegister)
SAME(EtwWriteString, EtwRegister)
SAME(EtwActivityIdControl, EtwRegister)
SAME(EtwUnregister, EtwRegister)

typedef NTSTATUS __cdecl trace_message(ULONGLONG, ULONG, const GUID *, USHORT, ...);
TEST(WmiTraceMessage)
{
    ULONG size = 5, first = 0;
    CHECK(CALL(trace_message *, WmiTraceMessage)(1, 0, &class_guid, 10, "text", (size_t)5, NULL) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONGLONG, ULONG, const GUID *, USHORT, PVOID), WmiTraceMessageVa)(1, 0, &class_guid, 10, NULL) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(ULONG, PVOID, ULONG, PULONG, PVOID), WmiQueryTraceInformation)(0, NULL, 0, &size, NULL) == STATUS_NOT_SUPPORTED && !size);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID, ULONG), IoWMIRegistrationControl)(&first, 1) == STATUS_SUCCESS);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID), IoWMIWriteEvent)(&first) == STATUS_NOT_SUPPORTED);
    CHECK(CALL(NTSTATUS (NTAPI *)(const GUID *, ULONG, PULONG), IoWMIAllocateInstanceIds)(&class_guid, 1, &first) == STATUS_SUCCESS && first);
    CHECK(CALL(NTSTATUS (NTAPI *)(PVOID, PVOID, BOOLEAN, PVOID), IoWMISuggestInstanceName)(NULL, NULL, FALSE, NULL) == STATUS_NOT_SUPPORTED);
    CHECK(CALL(ULONG (NTAPI *)(PVOID), IoWMIDeviceObjectToProviderId)((PVOID)0x1234) == 0x1234);
    PASS;
}
SAME(WmiTraceMessageVa, WmiTraceMessage)
SAME(WmiQueryTraceInformation, WmiTraceMessage)
SAME(IoWMIRegistrationControl, WmiTraceMessage)
SAME(IoWMIWriteEvent, WmiTraceMessage)
SAME(IoWMIAllocateInstanceIds, WmiTraceMessage)
SAME(IoWMISuggestInstanceName, WmiTraceMessage)
SAME(IoWMIDeviceObjectToProviderId, WmiTraceMessage)

TEST(SeAccessCheck)
{
    SECURITY_SUBJECT_CONTEXT subject;
    GENERIC_MAPPING mapping = { 1, 2, 4, 7 };
    ACCESS_MASK granted = 0, mask = GENERIC_READ | GENERIC_EXECUTE | 0x100;
    NTSTATUS status = STATUS_UNSUCCESSFUL;
    LUID privilege = { 7, 0 };
    SeCaptureSubjectContext(&subject);
    SeLockSubjectContext(&subject);
    CHECK(SeAccessCheck(NULL, &subject, TRUE, GENERIC_WRITE, 8, NULL, &mapping, KernelMode, &granted, &status));
    CHECK(granted == (2 | 8) && status == STATUS_SUCCESS);
    SeUnlockSubjectContext(&subject);
    SeReleaseSubjectContext(&subject);
    RtlMapGenericMask(&mask, &mapping);
    CHECK(mask == 0x105);
    CHECK(SeSinglePrivilegeCheck(privilege, KernelMode));
    CHECK(CALL(BOOLEAN (NTAPI *)(PVOID), SeTokenIsAdmin)(NULL));
    CHECK(CALL(BOOLEAN (NTAPI *)(ULONG, ULONG), RtlAreAllAccessesGranted)(7, 3) && !CALL(BOOLEAN (NTAPI *)(ULONG, ULONG), RtlAreAllAccessesGranted)(1, 3));
    CHECK(CALL(BOOLEAN (NTAPI *)(ULONG, ULONG), RtlAreAnyAccessesGranted)(1, 3) && !CALL(BOOLEAN (NTAPI *)(ULONG, ULONG), RtlAreAnyAccessesGranted)(4, 3));
    PASS;
}
SAME(SeCaptureSubjectContext, SeAccessCheck)
SAME(SeReleaseSubjectContext, SeAccessCheck)
SAME(SeLockSubjectContext, SeAccessCheck)
SAME(SeUnlockSubjectContext, SeAccessCheck)
SAME(SeSinglePrivilegeCheck, SeAccessCheck)
SAME(SeTokenIsAdmin, SeAccessCheck)
SAME(RtlMapGenericMask, SeAccessCheck)
SAME(RtlAreAllAccessesGranted, SeAccessCheck)
SAME(RtlAreAnyAccessesGranted, SeAccessCheck)

TEST(RtlGetVersion)
{
    RTL_OSVERSIONINFOEXW version = { 0 }, wanted = { 0 };
    ULONG major, minor, build;
    ULONGLONG mask;
    version.dwOSVersionInfoSize = sizeof version;
    CHECK(RtlGetVersion((PVOID)&version) == STATUS_SUCCESS && version.dwMajorVersion == 10 && version.dwPlatformId == VER_PLATFORM_WIN32_NT);
    CHECK(version.wProductType == VER_NT_WORKSTATION);
    CHECK(!PsGetVersion(&major, &minor, &build, NULL) && major == version.dwMajorVersion && build == version.dwBuildNumber);
    wanted.dwMajorVersion = 6;
    wanted.dwMinorVersion = 1;
    mask = VerSetConditionMask(0, VER_MAJORVERSION, VER_GREATER_EQUAL);
    mask = VerSetConditionMask(mask, VER_MINORVERSION, VER_GREATER_EQUAL);
    CHECK(mask == (3 << 3 | 3));
    CHECK(RtlVerifyVersionInfo(&wanted, VER_MAJORVERSION | VER_MINORVERSION, mask) == STATUS_SUCCESS);
    wanted.dwMajorVersion = 11;
    CHECK(RtlVerifyVersionInfo(&wanted, VER_MAJORVERSION | VER_MINORVERSION, mask) == STATUS_REVISION_MISMATCH);
    wanted.dwBuildNumber = build;
    mask = VerSetConditionMask(0, VER_BUILDNUMBER, VER_EQUAL);
    CHECK(RtlVerifyVersionInfo(&wanted, VER_BUILDNUMBER, mask) == STATUS_SUCCESS);
    version.dwOSVersionInfoSize = 5;
    CHECK(RtlGetVersion((PVOID)&version) == STATUS_INVALID_PARAMETER);
    CHECK(CALL(BOOLEAN (NTAPI *)(ULONG), RtlIsNtDdiVersionAvailable)(0x06010000) && !CALL(BOOLEAN (NTAPI *)(ULONG), RtlIsNtDdiVersionAvailable)(0x0B000000));
    CHECK(!CALL(BOOLEAN (NTAPI *)(ULONG), RtlIsServicePackVersionInstalled)(0x06010100));
    PASS;
}
SAME(PsGetVersion, RtlGetVersion)
SAME(VerSetConditionMask, RtlGetVersion)
SAME(RtlVerifyVersionInfo, RtlGetVersion)
SAME(RtlIsNtDdiVersionAvailable, RtlGetVersion)
SAME(RtlIsServicePackVersionInstalled, RtlGetVersion)

TEST(RtlAssert)
{
    PVOID frames[4];
    RtlAssert((PVOID)"1 == 2", (PVOID)"system.c", 7, (PVOID)"as it was meant");
    CHECK(CALL(USHORT (NTAPI *)(ULONG, ULONG, PVOID *, PULONG), RtlCaptureStackBackTrace)(0, 4, frames, NULL) <= 4);
    CHECK(CALL(ULONG (NTAPI *)(NTSTATUS), RtlNtStatusToDosError)(STATUS_ACCESS_DENIED) == 5);
    CHECK(CALL(ULONG (NTAPI *)(NTSTATUS), RtlNtStatusToDosErrorNoTeb)(STATUS_NO_MATCH) == 1169);
    PASS;
}
SAME(RtlCaptureStackBackTrace, RtlAssert)
SAME(RtlNtStatusToDosError, RtlAssert)
SAME(RtlNtStatusToDosErrorNoTeb, RtlAssert)
