//! Access rights of a handle.

use ks_abi::IoControlCode;

/// A set of access rights, generic or specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[doc(alias = "ACCESS_MASK")]
pub struct AccessMask(pub u32);

impl AccessMask {
    /// No right at all: property requests only.
    pub const NONE: AccessMask = AccessMask(0);
    /// `GENERIC_READ`
    pub const GENERIC_READ: AccessMask = AccessMask(0x8000_0000);
    /// `GENERIC_WRITE`
    pub const GENERIC_WRITE: AccessMask = AccessMask(0x4000_0000);
    /// `GENERIC_ALL`
    pub const GENERIC_ALL: AccessMask = AccessMask(0x1000_0000);
    /// `FILE_READ_DATA`, which a control code names FILE_READ_ACCESS.
    pub const FILE_READ_DATA: AccessMask = AccessMask(1);
    /// `FILE_WRITE_DATA`, which a control code names FILE_WRITE_ACCESS.
    pub const FILE_WRITE_DATA: AccessMask = AccessMask(2);

    /// Both sets together.
    pub const fn union(self, other: AccessMask) -> AccessMask {
        AccessMask(self.0 | other.0)
    }

    /// The specific rights that the generic ones stand for.
    pub const fn specific(self) -> AccessMask {
        let all = self.0 & Self::GENERIC_ALL.0 != 0;
        let mut bits = self.0 & 0x001F_FFFF;
        if all || self.0 & Self::GENERIC_READ.0 != 0 {
            bits |= Self::FILE_READ_DATA.0;
        }
        if all || self.0 & Self::GENERIC_WRITE.0 != 0 {
            bits |= Self::FILE_WRITE_DATA.0;
        }
        AccessMask(bits)
    }

    /// True when every right of `other` is in this set, after both are made specific.
    pub const fn allows(self, other: AccessMask) -> bool {
        let needed = other.specific().0;
        self.specific().0 & needed == needed
    }

    /// The rights that a control code demands of the handle: bits 14 and 15 of the code.
    #[inline]
    pub const fn demanded_by(code: IoControlCode) -> AccessMask {
        AccessMask(code.0 >> 14 & 3)
    }
}

impl std::fmt::Display for AccessMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let specific = self.specific();
        match (specific.allows(Self::FILE_READ_DATA), specific.allows(Self::FILE_WRITE_DATA)) {
            (true, true) => f.write_str("read and write"),
            (true, false) => f.write_str("read"),
            (false, true) => f.write_str("write"),
            (false, false) => f.write_str("no data access"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_rights_stand_for_specific_ones() {
        assert!(AccessMask::GENERIC_READ.allows(AccessMask::FILE_READ_DATA));
        assert!(!AccessMask::GENERIC_READ.allows(AccessMask::GENERIC_WRITE));
        assert!(AccessMask::GENERIC_ALL.allows(AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)));
        assert!(AccessMask::NONE.allows(AccessMask::NONE));
    }

    #[test]
    fn stream_codes_demand_their_right() {
        assert_eq!(AccessMask::demanded_by(IoControlCode::KS_WRITE_STREAM), AccessMask::FILE_WRITE_DATA);
        assert_eq!(AccessMask::demanded_by(IoControlCode::KS_READ_STREAM), AccessMask::FILE_READ_DATA);
        assert_eq!(AccessMask::demanded_by(IoControlCode::KS_PROPERTY), AccessMask::NONE);
    }
}
