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
    // ks-coverage: KsAcquireCachedMdl refused the cookie that it takes comes with a sample of Media Foundation, and none is here
    KsAcquireCachedMdl
    KsCreateBusEnumObject
    KsDereferenceSoftwareBusObject
    // ks-coverage: KsGenerateThermalEvent refused its page says neither what its parameters are nor what it does
    KsGenerateThermalEvent
    KsGetBusEnumIdentifier
    KsGetBusEnumParentFDOFromChildPDO
    KsGetBusEnumPnpDeviceObject
    // ks-coverage: KsGetImageNameAndResourceId refused its page names no value of the key that it would read
    KsGetImageNameAndResourceId
    KsInstallBusEnumInterface
    KsIsBusEnumChildDevice
    // ks-coverage: KsMapModuleName refused its page names no key of the device that it would read
    KsMapModuleName
    // ks-coverage: KsReferenceBusObject refused no software bus enumerates a device here that it would keep
    KsReferenceBusObject
    KsReferenceSoftwareBusObject
    // ks-coverage: KsReleaseCachedMdl refused it gives back what KsAcquireCachedMdl gives, which is nothing here
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
