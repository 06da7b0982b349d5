//! The highest level at which each routine of `ks.sys` may be called: facts of the documentation, one name a routine.
//!
//! Taken from the entry `req.irql` of the routine's page: PASSIVE_LEVEL, below DISPATCH_LEVEL (here APC), or up to
//! DISPATCH_LEVEL. A routine that is not here may be called at any level, or its page names none: of the 264 pages of
//! `ks.h`, 111 name one of these, 28 any level, one refers to its remarks, and 124 say nothing. `levels.tsv` has what each
//! page says, and a test compares.

use ks_io::Level;

/// PASSIVE_LEVEL only.
const PASSIVE: &[&str] = &[
    "KsAcquireControl",
    "KsAcquireDevice",
    "KsAddDevice",
    "KsAddEvent",
    "KsAddItemToObjectBag",
    "KsAllocateDefaultClock",
    "KsAllocateDefaultClockEx",
    "KsAllocateObjectBag",
    "KsCopyObjectBagItems",
    "KsCreateAllocator",
    "KsCreateAllocator2",
    "KsCreateClock",
    "KsCreateClock2",
    "KsCreateDevice",
    "KsCreateFilterFactory",
    "KsCreatePin2",
    "KsCreateTopologyNode2",
    "KsDefaultAddEventHandler",
    "KsDeleteFilterFactory",
    "KsDeviceGetBusData",
    "KsDeviceGetFirstChildFilterFactory",
    "KsDeviceGetOuterUnknown",
    "KsDeviceRegisterAdapterObject",
    "KsDiscard",
    "KsFilterAcquireControl",
    "KsFilterAcquireProcessingMutex",
    "KsFilterAddEvent",
    "KsFilterAddTopologyConnections",
    "KsFilterCreateNode",
    "KsFilterCreatePinFactory",
    "KsFilterFactoryGetDevice",
    "KsFilterFactoryGetFirstChildFilter",
    "KsFilterFactoryGetNextSiblingFilterFactory",
    "KsFilterFactoryGetOuterUnknown",
    "KsFilterFactoryGetParentDevice",
    "KsFilterFactoryGetSymbolicLink",
    "KsFilterFactorySetDeviceClassesState",
    "KsFilterGetChildPinCount",
    "KsFilterGetDevice",
    "KsFilterGetFirstChildPin",
    "KsFilterGetNextSiblingFilter",
    "KsFilterGetOuterUnknown",
    "KsFilterGetParentFilterFactory",
    "KsFilterRegisterPowerCallbacks",
    "KsFilterReleaseControl",
    "KsFilterReleaseProcessingMutex",
    "KsFreeObjectBag",
    "KsGetDevice",
    "KsGetFirstChild",
    "KsGetNextSibling",
    "KsGetOuterUnknown",
    "KsGetParent",
    "KsInitializeDevice",
    "KsInitializeDriver",
    "KsMergeAutomationTables",
    "KsPinAcquireControl",
    "KsPinAcquireProcessingMutex",
    "KsPinAddEvent",
    "KsPinAttachAndGate",
    "KsPinAttachOrGate",
    "KsPinGetConnectedFilterInterface",
    "KsPinGetConnectedPinFileObject",
    "KsPinGetConnectedPinInterface",
    "KsPinGetDevice",
    "KsPinGetNextSiblingPin",
    "KsPinGetOuterUnknown",
    "KsPinGetParentFilter",
    "KsPinGetReferenceClockInterface",
    "KsPinHandshake",
    "KsPinRegisterFrameReturnCallback",
    "KsPinRegisterHandshakeCallback",
    "KsPinRegisterIrpCompletionCallback",
    "KsPinReleaseControl",
    "KsPinReleaseProcessingMutex",
    "KsRegisterAggregatedClientUnknown",
    "KsRegisterFilterWithNoKSPins",
    "KsReleaseControl",
    "KsReleaseDevice",
    "KsRemoveItemFromObjectBag",
    "KsTerminateDevice",
    "_KsEdit",
];

/// Below DISPATCH_LEVEL.
const APC: &[&str] = &[
    "KsAcquireDeviceSecurityLock",
    "KsAllocateDeviceHeader",
    "KsAllocateExtraData",
    "KsAllocateObjectHeader",
    "KsCancelIo",
];

/// DISPATCH_LEVEL at most.
const DISPATCH: &[&str] = &[
    "KsCompletePendingRequest",
    "KsFilterAttemptProcessing",
    "KsFilterGenerateEvents",
    "KsGenerateEvents",
    "KsPinAttemptProcessing",
    "KsPinGenerateEvents",
    "KsPinGetFirstCloneStreamPointer",
    "KsPinGetLeadingEdgeStreamPointer",
    "KsPinGetTrailingEdgeStreamPointer",
    "KsPinSetPinClockTime",
    "KsPinSubmitFrame",
    "KsPinSubmitFrameMdl",
    "KsStreamPointerAdvance",
    "KsStreamPointerAdvanceOffsets",
    "KsStreamPointerAdvanceOffsetsAndUnlock",
    "KsStreamPointerCancelTimeout",
    "KsStreamPointerClone",
    "KsStreamPointerDelete",
    "KsStreamPointerGetIrp",
    "KsStreamPointerGetMdl",
    "KsStreamPointerGetNextClone",
    "KsStreamPointerLock",
    "KsStreamPointerScheduleTimeout",
    "KsStreamPointerSetStatusCode",
    "KsStreamPointerUnlock",
];

/// The highest level at which a routine may be called; `None`: any.
pub(super) fn most(routine: &str) -> Option<Level> {
    let lists = [(PASSIVE, Level::Passive), (APC, Level::Apc), (DISPATCH, Level::Dispatch)];
    lists.into_iter().find(|(names, _)| names.binary_search(&routine).is_ok()).map(|(_, level)| level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::{self, Module, Target};
    use std::collections::BTreeMap;

    /// What each page of `ks.h` says, a routine a line: `passive`, `below-dispatch`, `dispatch`, `any`, `remarks` (see
    /// there) or `-` (nothing).
    fn pages() -> BTreeMap<&'static str, &'static str> {
        let lines = include_str!("levels.tsv").lines();
        lines.map(|line| line.split_once('\t').expect("a name and a level")).collect()
    }

    #[test]
    fn every_routine_has_the_level_of_its_page() {
        let pages = pages();
        for (name, level) in &pages {
            let expected = match *level {
                "passive" => Some(Level::Passive),
                "below-dispatch" => Some(Level::Apc),
                "dispatch" => Some(Level::Dispatch),
                "any" | "remarks" | "-" => None,
                other => panic!("{name}: {other}"),
            };
            assert_eq!(most(name), expected, "{name}");
        }
        let named = [PASSIVE, APC, DISPATCH].concat();
        let without_page: Vec<_> = named.iter().filter(|name| !pages.contains_key(**name)).collect();
        assert_eq!(without_page, Vec::<&&str>::new());
        let of = |level| pages.values().filter(|page| **page == level).count();
        let counts = ["passive", "below-dispatch", "dispatch", "any", "remarks", "-"].map(of);
        assert_eq!(counts, [81, 5, 25, 28, 1, 124], "as the page of this module says");
    }

    /// Exports that no page of `ks.h` is about: those of `kcom.h` and `swenum.h`, whose pages name no level, and those
    /// without a page. Names that begin with these words; a class of C++ is mangled.
    const ELSEWHERE: [&str; 13] = [
        "?",
        "DllInitialize",
        "Ko",
        "Ksi",
        "KsCancelRoutine",
        "KsCreateBusEnumObject",
        "KsDefaultDispatchP",
        "KsDefaultForwardIrp",
        "KsInstallBusEnumInterface",
        "KsIsBusEnumChildDevice",
        "KsIsCurrentProcessFrameServer",
        "KsRemoveBusEnumInterface",
        "KsUpdateCameraStreamingConsent",
    ];
    /// More of `swenum.h`.
    const SOFTWARE_BUS: [&str; 3] = ["KsGetBusEnum", "KsServiceBusEnum", "SoftwareBusObject"];

    #[test]
    fn every_export_of_ks_has_a_page_or_is_known_to_have_none() {
        let pages = pages();
        let code = exports::all().filter(|one| one.module == Module::Ks && matches!(one.target, Target::Code(_)));
        let without: Vec<&str> = code.map(|one| one.name).filter(|name| !pages.contains_key(name)).collect();
        let is_known = |name: &&&str| {
            ELSEWHERE.iter().any(|word| name.starts_with(word)) || SOFTWARE_BUS.iter().any(|word| name.contains(word))
        };
        assert_eq!(without.iter().filter(|name| !is_known(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
        let words = ELSEWHERE.iter().chain(&SOFTWARE_BUS);
        let unused: Vec<_> = words.filter(|word| !without.iter().any(|name| name.contains(**word))).collect();
        assert_eq!(unused, Vec::<&&str>::new());
    }

    #[test]
    fn a_routine_has_one_level_and_the_lists_are_sorted() {
        let all: Vec<&str> = [PASSIVE, APC, DISPATCH].concat();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
        assert!([PASSIVE, APC, DISPATCH].iter().all(|names| names.is_sorted()));
    }
}
