//! The declarative macros that define structures, open enums and constants together with the header's spelling, so that
//! the layout and constant tables cannot drift from the types.

/// Defines one structure: `field: Type = "HeaderSpelling"`; an empty spelling is padding, `"A" | "B"` are members of a
/// union at one offset. Repr arguments (`packed(1)`, `align(16)`) go in brackets after the documentation page; members
/// of nested structures that have no field of their own are listed under `also`.
macro_rules! abi_struct {
    (
        $(#[$meta:meta])*
        pub struct $name:ident = $windows:literal, $page:literal $([$($repr:tt)+])? {
            $($(#[$fmeta:meta])* $field:ident: $ty:ty = $($spelling:literal)|+,)+
        }
        $(also { $($nested:literal = $offset:expr,)+ })?
    ) => {
        $(#[$meta])*
        ///
        #[doc = concat!("Source: ", $page, ".")]
        #[doc(alias = $windows)]
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            Hash,
            zerocopy::FromBytes,
            zerocopy::IntoBytes,
            zerocopy::Immutable,
            zerocopy::KnownLayout,
        )]
        #[repr(C $(, $($repr)+)?)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)+
        }

        impl Default for $name {
            /// All bytes zero.
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }

        impl $crate::layout::Described for $name {
            fn layout() -> $crate::layout::Layout {
                $crate::layout::Layout::new(
                    $windows,
                    core::mem::size_of::<Self>(),
                    core::mem::align_of::<Self>(),
                    &[
                        $($(($spelling, core::mem::offset_of!(Self, $field)),)+)+
                        $($(($nested, $offset),)+)?
                    ],
                )
            }
        }
    };
}

/// Defines an open enum: a newtype that accepts every value, with constants, names and `Display`.
macro_rules! abi_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $repr:ty = $windows:literal, $page:literal {
            $($(#[$cmeta:meta])* $short:ident = $value:literal => $spelling:literal,)+
        }
    ) => {
        $(#[$meta])*
        ///
        #[doc = concat!("Source: ", $page, ".")]
        #[doc(alias = $windows)]
        #[derive(
            Clone,
            Copy,
            PartialEq,
            Eq,
            Hash,
            PartialOrd,
            Ord,
            Default,
            zerocopy::FromBytes,
            zerocopy::IntoBytes,
            zerocopy::Immutable,
            zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$cmeta])* #[doc(alias = $spelling)] pub const $short: Self = Self($value);)+

            /// The known values in header spelling.
            pub(crate) const TABLE: &[(&str, u64)] = &[$(($spelling, $value)),+];

            /// The short name of a known value.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$short => Some(stringify!($short)),)+
                    _ => None,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", $windows, self.0),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}

/// Defines constants in header spelling, each with the group's documentation, and the table of them.
macro_rules! abi_consts {
    (
        $group:literal
        $(#[$tmeta:meta])*
        $vis:vis $table:ident: $ty:ty {
            $($(#[$meta:meta])* $name:ident = $value:expr,)+
        }
    ) => {
        $(
            #[doc = concat!($group, ".")]
            ///
            $(#[$meta])*
            pub const $name: $ty = $value;
        )+
        #[doc = concat!("Table: ", $group, ".")]
        $(#[$tmeta])*
        $vis const $table: &[(&str, u64)] = &[$((stringify!($name), $name as u64)),+];
    };
}

pub(crate) use {abi_consts, abi_enum, abi_struct};
