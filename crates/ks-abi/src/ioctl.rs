//! I/O control codes: how they are built, and the eight of Kernel Streaming.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::define::{abi_consts, abi_enum};

/// A device I/O control code: device type, access, function and method in one word.
///
/// Source: "Defining I/O Control Codes" of the kernel documentation.
#[doc(alias = "CTL_CODE")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct IoControlCode(pub u32);

abi_enum! {
    /// How an I/O control code hands over its buffers.
    pub struct TransferMethod: u32 = "METHOD", "defining-i-o-control-codes" {
        /// The I/O manager copies both buffers through one system buffer.
        BUFFERED = 0 => "METHOD_BUFFERED",
        /// Input is copied; the output buffer is locked and described by an MDL the driver reads from.
        IN_DIRECT = 1 => "METHOD_IN_DIRECT",
        /// Input is copied; the output buffer is locked and described by an MDL the driver writes to.
        OUT_DIRECT = 2 => "METHOD_OUT_DIRECT",
        /// The driver gets the caller's addresses and must probe and capture them itself.
        NEITHER = 3 => "METHOD_NEITHER",
    }
}

abi_consts! {
    "Access that an I/O control code asks of the handle"
    pub(crate) ACCESS: u32 {
        FILE_ANY_ACCESS = 0,
        FILE_READ_ACCESS = 1,
        FILE_WRITE_ACCESS = 2,
    }
}

abi_consts! {
    "Device type"
    pub(crate) DEVICE_TYPES: u32 {
        FILE_DEVICE_UNKNOWN = 0x22,
        FILE_DEVICE_KS = 0x2F,
    }
}

abi_consts! {
    "I/O control code of Kernel Streaming (METHOD_NEITHER, FILE_DEVICE_KS)"
    pub(crate) CODES: u32 {
        /// A property request. Source: ni-ks-ioctl_ks_property.
        IOCTL_KS_PROPERTY = ks(0, FILE_ANY_ACCESS),
        /// Enables an event, or asks about events. Source: ni-ks-ioctl_ks_enable_event.
        IOCTL_KS_ENABLE_EVENT = ks(1, FILE_ANY_ACCESS),
        /// Disables an event. Source: ni-ks-ioctl_ks_disable_event.
        IOCTL_KS_DISABLE_EVENT = ks(2, FILE_ANY_ACCESS),
        /// A method request. Source: ni-ks-ioctl_ks_method.
        IOCTL_KS_METHOD = ks(3, FILE_ANY_ACCESS),
        /// Sends frames to a pin. Source: ni-ks-ioctl_ks_write_stream.
        IOCTL_KS_WRITE_STREAM = ks(4, FILE_WRITE_ACCESS),
        /// Gets frames from a pin. Source: ni-ks-ioctl_ks_read_stream.
        IOCTL_KS_READ_STREAM = ks(5, FILE_READ_ACCESS),
        /// Begins or ends the reset state. Source: ni-ks-ioctl_ks_reset_state.
        IOCTL_KS_RESET_STATE = ks(6, FILE_ANY_ACCESS),
        /// A protocol handshake between two pins, kernel only. Source: ni-ks-ioctl_ks_handshake.
        IOCTL_KS_HANDSHAKE = ks(7, FILE_ANY_ACCESS),
    }
}

const fn ks(function: u32, access: u32) -> u32 {
    IoControlCode::new(FILE_DEVICE_KS, function, TransferMethod::NEITHER, access).0
}

impl IoControlCode {
    /// [`IOCTL_KS_PROPERTY`].
    pub const KS_PROPERTY: Self = Self(IOCTL_KS_PROPERTY);
    /// [`IOCTL_KS_ENABLE_EVENT`].
    pub const KS_ENABLE_EVENT: Self = Self(IOCTL_KS_ENABLE_EVENT);
    /// [`IOCTL_KS_DISABLE_EVENT`].
    pub const KS_DISABLE_EVENT: Self = Self(IOCTL_KS_DISABLE_EVENT);
    /// [`IOCTL_KS_METHOD`].
    pub const KS_METHOD: Self = Self(IOCTL_KS_METHOD);
    /// [`IOCTL_KS_WRITE_STREAM`].
    pub const KS_WRITE_STREAM: Self = Self(IOCTL_KS_WRITE_STREAM);
    /// [`IOCTL_KS_READ_STREAM`].
    pub const KS_READ_STREAM: Self = Self(IOCTL_KS_READ_STREAM);
    /// [`IOCTL_KS_RESET_STATE`].
    pub const KS_RESET_STATE: Self = Self(IOCTL_KS_RESET_STATE);
    /// [`IOCTL_KS_HANDSHAKE`].
    pub const KS_HANDSHAKE: Self = Self(IOCTL_KS_HANDSHAKE);

    /// Builds a code; bits that do not fit their field are cut off.
    #[must_use]
    pub const fn new(device_type: u32, function: u32, method: TransferMethod, access: u32) -> Self {
        Self((device_type & 0xFFFF) << 16 | (access & 3) << 14 | (function & 0xFFF) << 2 | method.0 & 3)
    }

    /// The device type, for example [`FILE_DEVICE_KS`].
    #[must_use]
    #[doc(alias = "DEVICE_TYPE_FROM_CTL_CODE")]
    pub const fn device_type(self) -> u32 {
        self.0 >> 16
    }

    /// The access the handle needs: [`FILE_ANY_ACCESS`], or bits of [`FILE_READ_ACCESS`] and [`FILE_WRITE_ACCESS`].
    #[must_use]
    pub const fn access(self) -> u32 {
        self.0 >> 14 & 3
    }

    /// The function number.
    #[must_use]
    pub const fn function(self) -> u32 {
        self.0 >> 2 & 0xFFF
    }

    /// How buffers are handed over.
    #[must_use]
    #[doc(alias = "METHOD_FROM_CTL_CODE")]
    pub const fn method(self) -> TransferMethod {
        TransferMethod(self.0 & 3)
    }

    /// The header's name of a Kernel Streaming code.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        CODES.iter().find(|(_, value)| *value == u64::from(self.0)).map(|(name, _)| *name)
    }
}

impl fmt::Display for IoControlCode {
    /// The name, or `IOCTL 0x00222003` for a code that is not of Kernel Streaming.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "IOCTL 0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for IoControlCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_documented_values() {
        assert_eq!(IOCTL_KS_PROPERTY, 0x002F_0003);
        assert_eq!(IOCTL_KS_WRITE_STREAM, 0x002F_8013);
        assert_eq!(IOCTL_KS_READ_STREAM, 0x002F_4017);
        assert_eq!(IOCTL_KS_HANDSHAKE, 0x002F_001F);
    }

    #[test]
    fn a_code_comes_apart_into_what_it_was_built_from() {
        let code = IoControlCode::KS_WRITE_STREAM;
        assert_eq!(code.device_type(), FILE_DEVICE_KS);
        assert_eq!(code.access(), FILE_WRITE_ACCESS);
        assert_eq!(code.function(), 4);
        assert_eq!(code.method(), TransferMethod::NEITHER);
        assert_eq!(code.to_string(), "IOCTL_KS_WRITE_STREAM");
        assert_eq!(IoControlCode(0x0022_2003).to_string(), "IOCTL 0x00222003");
    }
}
