//! What a property says of its values: their type, and lists of ranges, steps, values and defaults.
//!
//! Source: ns-ks-ksproperty_values, ns-ks-ksproperty_memberslist, ns-ks-ksproperty_membersheader.

use ks_abi::{
    KSPROPERTY_MEMBER_FLAG_DEFAULT, KSPROPERTY_MEMBER_RANGES, KSPROPERTY_MEMBER_STEPPEDRANGES,
    KSPROPERTY_MEMBER_VALUES, KSPROPTYPESETID_General, KsIdentifier, KsPropertyBoundsLong, KsPropertyBoundsLongLong,
    KsPropertySteppingLong, KsPropertySteppingLongLong,
};
use zerocopy::{Immutable, IntoBytes};

/// Type and legal values of a property.
#[doc(alias = "KSPROPERTY_VALUES")]
#[derive(Debug, Clone)]
pub struct PropertyValues {
    /// Type: `KSPROPTYPESETID_General` and a VT_ number.
    pub value_type: KsIdentifier,
    /// Lists of legal values.
    pub members: Vec<PropertyMembers>,
}

impl PropertyValues {
    /// Values of a VARENUM type: `VT_I4` is 3, `VT_UI4` 19, `VT_I8` 20.
    pub fn of_type(variant: u32, members: Vec<PropertyMembers>) -> PropertyValues {
        PropertyValues { value_type: KsIdentifier::new(KSPROPTYPESETID_General, variant, 0), members }
    }
}

/// One list of legal values.
#[doc(alias = "KSPROPERTY_MEMBERSLIST")]
#[derive(Debug, Clone)]
pub struct PropertyMembers {
    /// `KSPROPERTY_MEMBER_*`
    pub kind: u32,
    /// `KSPROPERTY_MEMBER_FLAG_*`
    pub flags: u32,
    /// Bytes of one member.
    pub member_bytes: u32,
    /// The members, one after the other.
    pub members: Vec<u8>,
}

/// Bounds of a value: `KSPROPERTY_BOUNDS_LONG` or `_LONGLONG`.
pub trait Bounds: IntoBytes + Immutable {}
impl Bounds for KsPropertyBoundsLong {}
impl Bounds for KsPropertyBoundsLongLong {}

/// Bounds with a step: `KSPROPERTY_STEPPING_LONG` or `_LONGLONG`.
pub trait Stepping: IntoBytes + Immutable {}
impl Stepping for KsPropertySteppingLong {}
impl Stepping for KsPropertySteppingLongLong {}

impl PropertyMembers {
    /// The value lies in one of these ranges.
    #[doc(alias = "KSPROPERTY_MEMBER_RANGES")]
    pub fn ranges<B: Bounds>(ranges: &[B]) -> PropertyMembers {
        PropertyMembers::list(KSPROPERTY_MEMBER_RANGES, 0, ranges)
    }

    /// The value lies in one of these ranges, on a multiple of its step from the least value.
    #[doc(alias = "KSPROPERTY_MEMBER_STEPPEDRANGES")]
    pub fn stepped<S: Stepping>(ranges: &[S]) -> PropertyMembers {
        PropertyMembers::list(KSPROPERTY_MEMBER_STEPPEDRANGES, 0, ranges)
    }

    /// The value is one of these.
    #[doc(alias = "KSPROPERTY_MEMBER_VALUES")]
    pub fn values<V: IntoBytes + Immutable>(values: &[V]) -> PropertyMembers {
        PropertyMembers::list(KSPROPERTY_MEMBER_VALUES, 0, values)
    }

    /// The value that a fresh object has.
    #[doc(alias = "KSPROPERTY_MEMBER_FLAG_DEFAULT")]
    pub fn default_value<V: IntoBytes + Immutable>(value: V) -> PropertyMembers {
        PropertyMembers::list(KSPROPERTY_MEMBER_VALUES, KSPROPERTY_MEMBER_FLAG_DEFAULT, &[value])
    }

    /// Marks the list with more `KSPROPERTY_MEMBER_FLAG_*`: one member a channel, all channels alike.
    pub fn flagged(mut self, flags: u32) -> PropertyMembers {
        self.flags |= flags;
        self
    }

    fn list<M: IntoBytes + Immutable>(kind: u32, flags: u32, members: &[M]) -> PropertyMembers {
        PropertyMembers { kind, flags, member_bytes: size_of::<M>() as u32, members: members.as_bytes().to_vec() }
    }
}
