//! What an object answers: its sets, and for each property, method and event what may be asked of it.
//!
//! No request lists the items of a set. The items that the headers name are asked for one by one, and of a set that they
//! do not know the first 64.

use crate::error::ClientError;
use crate::object::Object;
use ks_abi::{
    Guid, IoControlCode, KSEVENT_TYPE_BASICSUPPORT, KSMETHOD_TYPE_BASICSUPPORT, KSPROPERTY_MEMBER_FLAG_DEFAULT,
    KSPROPERTY_MEMBER_RANGES, KSPROPERTY_MEMBER_STEPPEDRANGES, KSPROPERTY_MEMBER_VALUES, KSPROPERTY_TYPE_BASICSUPPORT,
    KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KSPROPERTY_TYPE_SETSUPPORT, KSPROPERTY_TYPE_TOPOLOGY, KsIdentifier,
    KsPropertyDescription, KsPropertyMembersHeader, KspNode,
};
use zerocopy::{FromBytes, IntoBytes};

/// What kind of sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetKind {
    /// Property sets.
    Property,
    /// Method sets.
    Method,
    /// Event sets.
    Event,
}

impl SetKind {
    fn code(self) -> IoControlCode {
        match self {
            SetKind::Property => IoControlCode::KS_PROPERTY,
            SetKind::Method => IoControlCode::KS_METHOD,
            SetKind::Event => IoControlCode::KS_ENABLE_EVENT,
        }
    }

    fn basic_support(self) -> u32 {
        match self {
            SetKind::Property => KSPROPERTY_TYPE_BASICSUPPORT,
            SetKind::Method => KSMETHOD_TYPE_BASICSUPPORT,
            SetKind::Event => KSEVENT_TYPE_BASICSUPPORT,
        }
    }

    /// The items of a set that the headers name, else the first 64.
    fn ids(self, set: Guid) -> Vec<u32> {
        let named = |items: &mut dyn Iterator<Item = ks_abi::Item>| {
            items.filter(|item| item.set == set).map(|item| item.id).collect::<Vec<_>>()
        };
        let known = match self {
            SetKind::Property => named(&mut ks_abi::known_properties()),
            SetKind::Method => named(&mut ks_abi::known_methods()),
            SetKind::Event => named(&mut ks_abi::known_events()),
        };
        if known.is_empty() { (0..64).collect() } else { known }
    }
}

/// One item that an object answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemInfo {
    /// The set.
    pub set: Guid,
    /// The item.
    pub id: u32,
    /// The header's name.
    pub name: Option<&'static str>,
    /// A property: `KSPROPERTY_TYPE_GET` and `_SET`. A method: its `KSMETHOD_TYPE_*`. An event: 0.
    pub flags: u32,
}

/// What a property says of its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertyDescription {
    /// `KSPROPERTY_TYPE_GET` and `_SET`.
    pub access: u32,
    /// The VT_ number of the type, where the type is one of `KSPROPTYPESETID_General`.
    pub variant: Option<u32>,
    /// The legal values.
    pub members: Vec<Members>,
    /// The value of a fresh object, as it was told.
    pub default: Option<Vec<u8>>,
}

/// One list of legal values. 32-bit values are signed unless the type says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// From one value to another, by steps; 0: any value between.
    Range {
        /// The least value.
        minimum: i64,
        /// The greatest value.
        maximum: i64,
        /// The step.
        step: u64,
    },
    /// One of these, as they were told.
    Value(Vec<u8>),
}

/// What a request speaks to: the object itself, or one of its topology nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The object.
    Object,
    /// A topology node.
    Node(u32),
}

impl Scope {
    /// A request for an item of a set, with what else the item needs behind it.
    pub fn request(self, set: Guid, id: u32, flags: u32) -> Vec<u8> {
        match self {
            Scope::Object => KsIdentifier::new(set, id, flags).as_bytes().to_vec(),
            Scope::Node(node_id) => {
                let property = KsIdentifier::new(set, id, flags | KSPROPERTY_TYPE_TOPOLOGY);
                KspNode { property, node_id, reserved: 0 }.as_bytes().to_vec()
            }
        }
    }
}

impl Object {
    /// The sets of one kind that the object says it supports.
    pub fn supported_sets(&self, kind: SetKind, scope: Scope) -> Result<Vec<Guid>, ClientError> {
        let request = scope.request(Guid::NULL, 0, KSPROPERTY_TYPE_SETSUPPORT);
        let empty = self.control(kind.code(), &request, &mut []);
        if empty.status == ks_abi::STATUS_PROPSET_NOT_FOUND || empty.status.is_success() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; empty.information.min(1 << 16)];
        let outcome = self.control(kind.code(), &request, &mut bytes);
        let answered = outcome.information.min(bytes.len());
        if !outcome.status.is_success() {
            return Err(ClientError::new("list the sets", self.name(), outcome));
        }
        Ok(bytes[..answered].chunks_exact(16).filter_map(|one| Guid::read_from_bytes(one).ok()).collect())
    }

    /// Every item of one kind that the object answers, in the order of its sets.
    pub fn supported_items(&self, kind: SetKind, scope: Scope) -> Result<Vec<ItemInfo>, ClientError> {
        let mut items = Vec::new();
        for set in self.supported_sets(kind, scope)? {
            for id in kind.ids(set) {
                let request = scope.request(set, id, kind.basic_support());
                let mut flags = [0; 4];
                let outcome = self.control(kind.code(), &request, &mut flags);
                if !outcome.status.is_success() {
                    continue;
                }
                let name = match kind {
                    SetKind::Property => ks_abi::property_name(set, id),
                    SetKind::Method => ks_abi::method_name(set, id),
                    SetKind::Event => ks_abi::event_name(set, id),
                };
                let flags = match kind {
                    SetKind::Property => u32::from_le_bytes(flags) & (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET),
                    SetKind::Method => u32::from_le_bytes(flags),
                    SetKind::Event => 0,
                };
                items.push(ItemInfo { set, id, name, flags });
            }
        }
        Ok(items)
    }

    /// Type, legal values and default of a property.
    pub fn describe_property(&self, scope: Scope, set: Guid, id: u32) -> Result<PropertyDescription, ClientError> {
        let request = scope.request(set, id, KSPROPERTY_TYPE_BASICSUPPORT);
        let bytes = self.property_bytes(&request, set, id)?;
        Ok(parse_description(&bytes))
    }
}

/// Reads a description as far as its bytes go.
fn parse_description(bytes: &[u8]) -> PropertyDescription {
    let mut told = PropertyDescription::default();
    let Ok((head, mut rest)) = KsPropertyDescription::read_from_prefix(bytes) else {
        if let Ok((access, _)) = u32::read_from_prefix(bytes) {
            told.access = access & (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET);
        }
        return told;
    };
    told.access = head.access_flags & (KSPROPERTY_TYPE_GET | KSPROPERTY_TYPE_SET);
    if head.prop_type_set.set == ks_abi::KSPROPTYPESETID_General {
        told.variant = Some(head.prop_type_set.id);
    }
    for _ in 0..head.members_list_count {
        let Ok((list, after)) = KsPropertyMembersHeader::read_from_prefix(rest) else { break };
        let size = list.members_size as usize;
        let Some(length) = size.checked_mul(list.members_count as usize) else { break };
        let Some((members, after)) = after.split_at_checked(length) else { break };
        rest = after;
        for member in members.chunks_exact(size.max(1)) {
            if list.flags & KSPROPERTY_MEMBER_FLAG_DEFAULT != 0 {
                told.default.get_or_insert_with(|| member.to_vec());
            } else if let Some(member) = parse_member(list.members_flags, member, told.variant) {
                told.members.push(member);
            }
        }
    }
    told
}

/// `VT_UI4`, the unsigned type of 32-bit bounds.
const VT_UI4: u32 = 19;

fn parse_member(kind: u32, member: &[u8], variant: Option<u32>) -> Option<Members> {
    let narrow = |at: usize| {
        let word = u32::from_le_bytes(*member.get(at..)?.first_chunk()?);
        Some(if variant == Some(VT_UI4) { i64::from(word) } else { i64::from(word.cast_signed()) })
    };
    let wide = |at: usize| Some(i64::from_le_bytes(*member.get(at..)?.first_chunk()?));
    let range = |minimum, maximum, step| Some(Members::Range { minimum, maximum, step });
    match (kind, member.len()) {
        (KSPROPERTY_MEMBER_RANGES, 8) => range(narrow(0)?, narrow(4)?, 0),
        (KSPROPERTY_MEMBER_RANGES, 16) => range(wide(0)?, wide(8)?, 0),
        (KSPROPERTY_MEMBER_STEPPEDRANGES, 16) => {
            let step = u32::from_le_bytes(*member.first_chunk()?);
            range(narrow(8)?, narrow(12)?, step.into())
        }
        (KSPROPERTY_MEMBER_STEPPEDRANGES, 24) => range(wide(8)?, wide(16)?, wide(0)?.cast_unsigned()),
        (KSPROPERTY_MEMBER_VALUES, _) => Some(Members::Value(member.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(variant: u32, lists: &[(u32, u32, &[u8])], count: u32) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, flags, member) in lists {
            let head = KsPropertyMembersHeader {
                members_flags: *kind,
                members_size: member.len() as u32,
                members_count: 1,
                flags: *flags,
            };
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(member);
        }
        let head = KsPropertyDescription {
            access_flags: 0x203,
            description_size: 40 + body.len() as u32,
            prop_type_set: KsIdentifier::new(ks_abi::KSPROPTYPESETID_General, variant, 0),
            members_list_count: count,
            reserved: 0,
        };
        [head.as_bytes(), &body].concat()
    }

    #[test]
    fn ranges_steps_values_and_defaults_are_read() {
        let stepped: Vec<u8> = [5_i32, 0, -10, 10].iter().flat_map(|word| word.to_le_bytes()).collect();
        let bounds: Vec<u8> = [0_u32, u32::MAX].iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes = description(3, &[(2, 0, &stepped), (1, 0, &bounds), (3, 1, &7_i32.to_le_bytes())], 3);
        let told = parse_description(&bytes);
        assert_eq!((told.access, told.variant), (3, Some(3)));
        assert_eq!(
            told.members,
            [
                Members::Range { minimum: -10, maximum: 10, step: 5 },
                Members::Range { minimum: 0, maximum: -1, step: 0 }
            ]
        );
        assert_eq!(told.default, Some(7_i32.to_le_bytes().to_vec()));
        let unsigned = parse_description(&description(VT_UI4, &[(1, 0, &bounds)], 1));
        assert_eq!(unsigned.members, [Members::Range { minimum: 0, maximum: u32::MAX.into(), step: 0 }]);
    }

    #[test]
    fn a_description_cut_off_anywhere_is_read_as_far_as_it_goes() {
        let bytes = description(3, &[(3, 0, &[1, 2, 3, 4]), (1, 0, &[0; 8])], 200);
        for cut in 0..=bytes.len() {
            let told = parse_description(&bytes[..cut]);
            assert!(told.members.len() <= 2);
        }
        let mut huge = bytes;
        huge[40 + 4..40 + 12].fill(0xFF);
        assert!(parse_description(&huge).members.is_empty(), "a list larger than the answer is none");
    }
}
