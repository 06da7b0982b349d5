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
    // ks-coverage: KsAcquireCachedMdl refused no MDL of a frame is kept from one frame to the next
    KsAcquireCachedMdl
    KsCreateBusEnumObject
    KsDereferenceSoftwareBusObject
    // ks-coverage: KsGenerateThermalEvent refused no device here gets hot, and nobody listens to one that says so
    KsGenerateThermalEvent
    KsGetBusEnumIdentifier
    KsGetBusEnumParentFDOFromChildPDO
    KsGetBusEnumPnpDeviceObject
    // ks-coverage: KsGetImageNameAndResourceId refused it names resources of property pages, and no page is shown here
    KsGetImageNameAndResourceId
    KsInstallBusEnumInterface
    KsIsBusEnumChildDevice
    KsIsCurrentProcessFrameServer
    // ks-coverage: KsLoadResource refused it copies resources of property pages, and no page is shown here
    KsLoadResource
    // ks-coverage: KsMapModuleName refused it names resources of property pages, and no page is shown here
    KsMapModuleName
    // ks-coverage: KsReferenceBusObject refused no software bus enumerates a device here that it would keep
    KsReferenceBusObject
    KsReferenceSoftwareBusObject
    // ks-coverage: KsRegisterFilterWithNoKSPins refused it writes FilterData, whose form no page gives and nothing reads
    KsRegisterFilterWithNoKSPins
    // ks-coverage: KsReleaseCachedMdl refused no MDL of a frame is kept from one frame to the next
    KsReleaseCachedMdl
    KsRemoveBusEnumInterface
    KsServiceBusEnumCreateRequest
    KsServiceBusEnumPnpRequest
    KsUpdateCameraStreamingConsent
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
    ;
    nothing:
    // ks-coverage: KsDereferenceBusObject refused no software bus enumerates a device here that it would keep
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
