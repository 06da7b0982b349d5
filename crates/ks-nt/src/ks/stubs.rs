//! Names of `ks.sys` that are exported so that an image binds, and refuse when they are called.

use crate::exports::{Export, Module, Target};
use crate::report;
use ks_abi::{NtStatus, STATUS_NOT_IMPLEMENTED};

/// Makes a routine of each name: it remembers that it was called, and answers in the way of its kind. What a driver
/// passes stays where it is: the caller of the Windows convention clears its own arguments.
macro_rules! refusals {
    (status: $($status:ident)* ; zero: $($zero:ident)* ; nothing: $($nothing:ident)* ;) => {
        $(
            unsafe extern "win64" fn $status() -> NtStatus {
                report::note(concat!("refused ", stringify!($status)), [0; 2]);
                STATUS_NOT_IMPLEMENTED
            }
        )*
        $(
            unsafe extern "win64" fn $zero() -> u64 {
                report::note(concat!("refused ", stringify!($zero)), [0; 2]);
                0
            }
        )*
        $(
            unsafe extern "win64" fn $nothing() {
                report::note(concat!("ignored ", stringify!($nothing)), [0; 2]);
            }
        )*
        const PLAIN: &[Export] =
            $crate::exports!(Ks: $($status,)* $($zero,)* $($nothing,)*);
    };
}

refusals! {
    status:
    KoCreateInstance
    KoDeviceInitialize
    KoDriverInitialize
    KoRelease
    // ks-coverage: KsAcquireCachedMdl not-implemented
    KsAcquireCachedMdl
    KsCreateBusEnumObject
    KsDereferenceSoftwareBusObject
    // ks-coverage: KsFilterFactoryAddCreateItem not-implemented
    KsFilterFactoryAddCreateItem
    // ks-coverage: KsGenerateThermalEvent not-implemented
    KsGenerateThermalEvent
    KsGetBusEnumIdentifier
    KsGetBusEnumParentFDOFromChildPDO
    KsGetBusEnumPnpDeviceObject
    // ks-coverage: KsGetImageNameAndResourceId not-implemented
    KsGetImageNameAndResourceId
    KsInstallBusEnumInterface
    KsIsBusEnumChildDevice
    KsIsCurrentProcessFrameServer
    // ks-coverage: KsLoadResource not-implemented
    KsLoadResource
    // ks-coverage: KsMapModuleName not-implemented
    KsMapModuleName
    // ks-coverage: KsQueryInformationFile not-implemented
    KsQueryInformationFile
    // ks-coverage: KsReadFile not-implemented
    KsReadFile
    // ks-coverage: KsReferenceBusObject not-implemented
    KsReferenceBusObject
    KsReferenceSoftwareBusObject
    // ks-coverage: KsReleaseCachedMdl not-implemented
    KsReleaseCachedMdl
    KsRemoveBusEnumInterface
    KsServiceBusEnumCreateRequest
    KsServiceBusEnumPnpRequest
    // ks-coverage: KsSetInformationFile not-implemented
    KsSetInformationFile
    // ks-coverage: KsUnserializeObjectPropertiesFromRegistry not-implemented
    KsUnserializeObjectPropertiesFromRegistry
    KsUpdateCameraStreamingConsent
    // ks-coverage: KsWriteFile not-implemented
    KsWriteFile
    KsiDefaultClockAddMarkEvent
    KsiPropertyDefaultClockGetCorrelatedPhysicalTime
    KsiPropertyDefaultClockGetCorrelatedTime
    KsiPropertyDefaultClockGetFunctionTable
    KsiPropertyDefaultClockGetPhysicalTime
    KsiPropertyDefaultClockGetResolution
    KsiPropertyDefaultClockGetState
    KsiPropertyDefaultClockGetTime
    ;
    zero:
    // ks-coverage: KsDeviceGetBusData not-implemented
    KsDeviceGetBusData
    // ks-coverage: KsDeviceSetBusData not-implemented
    KsDeviceSetBusData
    ;
    nothing:
    // ks-coverage: KsDereferenceBusObject not-implemented
    KsDereferenceBusObject
    ;
}

/// A member of a C++ class that `ks.sys` exports for aggregation; nothing is built of it.
unsafe extern "win64" fn refused_member() -> NtStatus {
    report::note("refused a member of CBaseUnknown", [0; 2]);
    STATUS_NOT_IMPLEMENTED
}

const fn member(name: &'static str) -> Export {
    Export { module: Module::Ks, name, target: Target::Code(refused_member as *const ()) }
}

const MEMBERS: &[Export] = &[
    member("??0CBaseUnknown@@QEAA@AEBU_GUID@@PEAUIUnknown@@@Z"),
    member("??0CBaseUnknown@@QEAA@PEAUIUnknown@@@Z"),
    member("??1CBaseUnknown@@UEAA@XZ"),
    member("??_FCBaseUnknown@@QEAAXXZ"),
    member("?IndirectedAddRef@CBaseUnknown@@UEAAKXZ"),
    member("?IndirectedQueryInterface@CBaseUnknown@@UEAAJAEBU_GUID@@PEAPEAX@Z"),
    member("?IndirectedRelease@CBaseUnknown@@UEAAKXZ"),
    member("?NonDelegatedAddRef@CBaseUnknown@@UEAAKXZ"),
    member("?NonDelegatedQueryInterface@CBaseUnknown@@UEAAJAEBU_GUID@@PEAPEAX@Z"),
    member("?NonDelegatedRelease@CBaseUnknown@@UEAAKXZ"),
];

pub(crate) const EXPORTS: &[Export] = PLAIN;
pub(crate) const MEMBER_EXPORTS: &[Export] = MEMBERS;
