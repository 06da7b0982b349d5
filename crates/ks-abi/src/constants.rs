//! All numeric constants and ids under the header's names: what tests compare with the headers.

use crate::kernel::*;
use crate::*;

/// Every constant of this crate that has a Windows ancestor, in header spelling. GUIDs are in [`known_guids`].
#[must_use]
pub fn constants() -> Vec<(&'static str, u64)> {
    let tables = [
        allocator::FLAGS,
        audio::WAVE_FORMATS,
        audio::SPEAKERS,
        audio::SPEAKER_LAYOUTS,
        event::NOTIFICATIONS,
        format::FLAGS,
        identifier::PROPERTY_TYPES,
        identifier::METHOD_TYPES,
        identifier::EVENT_TYPES,
        identifier::MEMBERS,
        identifier::RELATIVE_EVENT,
        ioctl::ACCESS,
        ioctl::CODES,
        ioctl::DEVICE_TYPES,
        pin::INTERFACES,
        pin::PRIORITIES,
        stream::OPTIONS,
        stream::RATE_FLAGS,
        stream::DEGRADATION,
        video::COMPRESSION,
        video::FRAME_FLAGS,
        video::INTERLACE_FLAGS,
        video::STREAM_KINDS,
        DevicePowerState::TABLE,
        KProcessorMode::TABLE,
        KsEventsLockType::TABLE,
        KsIrpRemovalOperation::TABLE,
        KsListEntryLocation::TABLE,
        KsObjectType::TABLE,
        KsStackUse::TABLE,
        KsStreamPointerState::TABLE,
        KsTargetState::TABLE,
        SystemPowerState::TABLE,
        kernel::automation::ENTRY_FLAGS,
        kernel::class::CREATE_ITEM_FLAGS,
        KsCompletionInvocation::TABLE,
        kernel::class::PROBE_FLAGS,
        kernel::descriptor::DEVICE_FLAGS,
        kernel::descriptor::FILTER_FLAGS,
        kernel::descriptor::PIN_FLAGS,
        kernel::descriptor::VERSIONS,
        kernel::dispatcher::LEVELS,
        PoolType::TABLE,
        kernel::io::CONTROL,
        kernel::io::IRP_FLAGS,
        kernel::io::MAJOR_FUNCTIONS,
        kernel::io::MDL_FLAGS,
        kernel::io::MINOR_FUNCTIONS,
        kernel::io::OBJECT_TYPES,
        kernel::object::DEVICE_FLAGS,
        KsPinCommunication::TABLE,
        KsPinDataFlow::TABLE,
        KsReset::TABLE,
        KsState::TABLE,
        NtStatus::TABLE,
        TransferMethod::TABLE,
        Win32Error::TABLE,
    ];
    let single = [
        ("KSALL_NODES", KSALL_NODES),
        ("KSFILTER_NODE", KSFILTER_NODE),
        ("KSFRAMETIME_VARIABLESIZE", KSFRAMETIME_VARIABLESIZE),
        ("KSINSTANCE_INDETERMINATE", KSINSTANCE_INDETERMINATE),
    ];
    let items = known_properties().chain(known_methods()).chain(known_events());
    tables
        .into_iter()
        .flatten()
        .copied()
        .chain(single.map(|(name, value)| (name, u64::from(value))))
        .chain(items.map(|item| (item.name, u64::from(item.id))))
        .collect()
}
