//! BASICSUPPORT and DEFAULTVALUES: what a property says of itself.
//!
//! Source: "Basic support queries for audio properties", ns-ks-ksproperty_description.

use crate::automation::PropertyItem;
use ks_abi::{
    KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KsIdentifier, KsPropertyDescription,
    KsPropertyMembersHeader, NtStatus, STATUS_BUFFER_TOO_SMALL,
};
use ks_io::Output;
use zerocopy::IntoBytes;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Members {
    All,
    Defaults,
}

/// BASICSUPPORT in its three sizes: a ULONG of access flags, a `KSPROPERTY_DESCRIPTION`, or that with its members.
pub(super) fn basic_support<T>(item: &PropertyItem<T>, output: &mut Output, which: Members) -> NtStatus {
    let mut access_flags = 0;
    if item.get.is_some() {
        access_flags |= KSPROPERTY_TYPE_GET;
    }
    if item.set.is_some() {
        access_flags |= KSPROPERTY_TYPE_SET;
    }
    // The bit says that there is more to be learned than these flags.
    if item.values.is_some() {
        access_flags |= KSPROPERTY_TYPE_BASICSUPPORT;
    }
    let mut lists = Vec::new();
    let mut count = 0u32;
    for members in item.values.iter().flat_map(|values| &values.members) {
        if which == Members::Defaults && members.flags & ks_abi::KSPROPERTY_MEMBER_FLAG_DEFAULT == 0 {
            continue;
        }
        let members_count = (members.members.len() as u32).checked_div(members.member_bytes).unwrap_or(0);
        let header = KsPropertyMembersHeader {
            members_flags: members.kind,
            members_size: members.member_bytes,
            members_count,
            flags: members.flags,
        };
        lists.extend_from_slice(header.as_bytes());
        lists.extend_from_slice(&members.members);
        count += 1;
    }
    let description = KsPropertyDescription {
        access_flags,
        description_size: (size_of::<KsPropertyDescription>() + lists.len()) as u32,
        prop_type_set: item.values.as_ref().map_or_else(KsIdentifier::default, |values| values.value_type),
        members_list_count: count,
        reserved: 0,
    };
    let whole = description.description_size as usize;
    match output.limit() {
        0 => output.too_small(whole),
        4 => output.answer_value(&access_flags),
        limit if limit == size_of::<KsPropertyDescription>() && limit < whole => output.answer_value(&description),
        limit if limit >= whole => {
            let mut bytes = description.as_bytes().to_vec();
            bytes.extend_from_slice(&lists);
            output.answer(&bytes)
        }
        _ => STATUS_BUFFER_TOO_SMALL,
    }
}
