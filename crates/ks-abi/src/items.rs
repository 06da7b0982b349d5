//! Ids of properties, methods and events, and their names.

use crate::guid::Guid;

/// Defines the ids of one set and the table of them.
macro_rules! items {
    ($group:literal $table:ident: $set:ident { $($name:ident = $id:literal,)+ }) => {
        $(
            #[doc = concat!($group, ".")]
            pub const $name: u32 = $id;
        )+
        #[doc(hidden)]
        pub(crate) const $table: &[Item] = &[$(Item { set: $set, id: $id, name: stringify!($name) }),+];
    };
}
pub mod events;
pub mod media_properties;
pub mod methods;
pub mod properties;

pub use events::*;
pub use media_properties::*;
pub use methods::*;
pub use properties::*;

/// One item of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The set.
    pub set: Guid,
    /// The item within the set.
    pub id: u32,
    /// The header's name, for example `KSPROPERTY_PIN_CTYPES`.
    pub name: &'static str,
}

/// The header's name of a property, if this crate knows it.
#[must_use]
pub fn property_name(set: Guid, id: u32) -> Option<&'static str> {
    find(known_properties(), set, id)
}

/// The header's name of a method, if this crate knows it.
#[must_use]
pub fn method_name(set: Guid, id: u32) -> Option<&'static str> {
    find(known_methods(), set, id)
}

/// The header's name of an event, if this crate knows it.
#[must_use]
pub fn event_name(set: Guid, id: u32) -> Option<&'static str> {
    find(known_events(), set, id)
}

/// Every property this crate knows, by set.
pub fn known_properties() -> impl Iterator<Item = Item> {
    properties::TABLES.iter().chain(media_properties::TABLES).copied().flatten().copied()
}

/// Every method this crate knows, by set.
pub fn known_methods() -> impl Iterator<Item = Item> {
    methods::TABLES.iter().copied().flatten().copied()
}

/// Every event this crate knows, by set.
pub fn known_events() -> impl Iterator<Item = Item> {
    events::TABLES.iter().copied().flatten().copied()
}

fn find(mut items: impl Iterator<Item = Item>, set: Guid, id: u32) -> Option<&'static str> {
    items.find(|item| item.set == set && item.id == id).map(|item| item.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::sets::*;

    #[test]
    fn items_have_names() {
        assert_eq!(property_name(KSPROPSETID_Pin, 1), Some("KSPROPERTY_PIN_CTYPES"));
        assert_eq!(method_name(KSMETHODSETID_StreamAllocator, 1), Some("KSMETHOD_STREAMALLOCATOR_FREE"));
        assert_eq!(event_name(KSEVENTSETID_Connection, 4), Some("KSEVENT_CONNECTION_ENDOFSTREAM"));
        assert_eq!(property_name(KSPROPSETID_Pin, 99), None);
    }

    #[test]
    fn no_set_names_an_id_twice() {
        for items in [known_properties().collect::<Vec<_>>(), known_methods().collect(), known_events().collect()] {
            let mut keys: Vec<_> = items.iter().map(|item| (item.set, item.id)).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), items.len());
        }
    }
}
