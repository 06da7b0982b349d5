/*
 * Fails where the build says: -DIN_ENTRY in DriverEntry, -DIN_ADD in the device's Add, -DIN_START in its Start. With
 * -DHANGS_IN_ENTRY and -DFAULTS_IN_ENTRY it does not even get so far; -DFAULTS_IN_ADD and -DFAULTS_IN_START break there.
 */
#include "bytes.h"

static NTSTATUS OnAdd(PKSDEVICE Unused)
{
#ifdef IN_ADD
    return STATUS_DEVICE_CONFIGURATION_ERROR;
#elif defined(FAULTS_IN_ADD)
    return *(volatile NTSTATUS *)8;
#else
    return STATUS_SUCCESS;
#endif
}

static NTSTATUS OnStart(PKSDEVICE Unused, PIRP Irp, PCM_RESOURCE_LIST Translated, PCM_RESOURCE_LIST Untranslated)
{
#ifdef IN_START
    return STATUS_DEVICE_POWER_FAILURE;
#elif defined(FAULTS_IN_START)
    return *(volatile NTSTATUS *)8;
#else
    return STATUS_SUCCESS;
#endif
}

static const KSDEVICE_DISPATCH Dispatch = {.Add = OnAdd, .Start = OnStart};
static const KSDEVICE_DESCRIPTOR Device = {&Dispatch, 0, NULL, KSDEVICE_DESCRIPTOR_VERSION};

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
#if defined(IN_ENTRY)
    return STATUS_NOT_SUPPORTED;
#elif defined(HANGS_IN_ENTRY)
    for (;;)
        YieldProcessor();
#elif defined(FAULTS_IN_ENTRY)
    return *(volatile NTSTATUS *)8;
#else
    return KsInitializeDriver(DriverObject, RegistryPath, &Device);
#endif
}
