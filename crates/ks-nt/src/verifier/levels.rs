//! The highest level at which each routine of `ks.sys` may be called: facts of the documentation, one name a routine.
//!
//! Taken from the entry `req.irql` of the routine's page: PASSIVE_LEVEL, below DISPATCH_LEVEL (here APC), or up to
//! DISPATCH_LEVEL. A routine that is not here may be called at any level, or its page names none: of the 264 pages of
//! `ks.h`, 111 name one of these, 28 any level, one refers to its remarks, and 124 say nothing.

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
    use crate::exports::{self, Module};

    /// One routine a page; whoever adds one has seen its page and counts it here and above.
    #[test]
    fn every_page_that_names_a_level_has_its_routine() {
        assert_eq!([PASSIVE.len(), APC.len(), DISPATCH.len()], [81, 5, 25]);
        assert!([PASSIVE, APC, DISPATCH].concat().iter().all(|name| !name.is_empty()));
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

    #[test]
    fn the_levels_of_known_routines_are_those_of_their_pages() {
        assert_eq!(most("KsAcquireDevice"), Some(Level::Passive));
        assert_eq!(most("KsAllocateObjectHeader"), Some(Level::Apc));
        assert_eq!(most("KsStreamPointerUnlock"), Some(Level::Dispatch));
        assert_eq!(most("KsGateTurnInputOn"), None, "any level");
    }

    #[test]
    fn the_routines_with_a_level_that_drivers_import_are_there() {
        let named = |names: &[&str]| names.iter().filter(|name| exports::find(name).is_some()).count();
        assert!(named(PASSIVE) >= 40 && named(DISPATCH) >= 10, "{} {}", named(PASSIVE), named(DISPATCH));
        let modules = PASSIVE.iter().filter_map(|name| exports::find(name)).all(|export| export.module == Module::Ks);
        assert!(modules);
    }
}
