//! Status codes: NTSTATUS inside, Win32 error codes and HRESULT at the edges that need them.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Defines the known codes of one code space, as associated and as module constants.
macro_rules! codes {
    ($type:ident { $($name:ident = $value:literal,)+ }) => {
        impl $type {
            $(
                #[doc = concat!("`", stringify!($name), "`, ", stringify!($value), ".")]
                pub const $name: Self = Self($value);
            )+

            /// The known codes in header spelling.
            pub(crate) const TABLE: &[(&str, u64)] = &[$((stringify!($name), $value)),+];

            /// The header's name of a known code.
            #[must_use]
            pub const fn known_name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
        $(
            #[doc = concat!("`", stringify!($name), "`, ", stringify!($value), ".")]
            pub const $name: $type = $type::$name;
        )+
    };
}

/// An NTSTATUS: severity in the top two bits, then customer bit, facility and code. The type accepts every value.
///
/// Source: "Using NTSTATUS Values" of the kernel documentation.
#[doc(alias = "NTSTATUS")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
#[must_use = "a status may be a failure"]
pub struct NtStatus(pub u32);

impl NtStatus {
    /// Success or information: severity 0 or 1.
    #[must_use]
    #[doc(alias = "NT_SUCCESS")]
    pub const fn is_success(self) -> bool {
        self.0 >> 31 == 0
    }

    /// Severity 1.
    #[must_use]
    #[doc(alias = "NT_INFORMATION")]
    pub const fn is_information(self) -> bool {
        self.0 >> 30 == 1
    }

    /// Severity 2; `STATUS_BUFFER_OVERFLOW` is one.
    #[must_use]
    #[doc(alias = "NT_WARNING")]
    pub const fn is_warning(self) -> bool {
        self.0 >> 30 == 2
    }

    /// Severity 3.
    #[must_use]
    #[doc(alias = "NT_ERROR")]
    pub const fn is_error(self) -> bool {
        self.0 >> 30 == 3
    }

    /// The header's name, or `STATUS_UNKNOWN` for a code that this crate does not know; `Display` shows its value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.known_name() {
            Some(name) => name,
            None => "STATUS_UNKNOWN",
        }
    }

    /// The Win32 error that a user-mode caller sees for this status.
    ///
    /// Decision: a code without a documented pair becomes `ERROR_MR_MID_NOT_FOUND` (317), as Windows answers for codes
    /// that it does not know; success and information codes without a pair become `ERROR_SUCCESS`.
    #[must_use]
    #[doc(alias = "RtlNtStatusToDosError")]
    pub const fn to_win32(self) -> Win32Error {
        match self {
            Self::STATUS_SUCCESS => Win32Error::ERROR_SUCCESS,
            Self::STATUS_TIMEOUT => Win32Error::ERROR_TIMEOUT,
            Self::STATUS_PENDING => Win32Error::ERROR_IO_PENDING,
            Self::STATUS_SOME_NOT_MAPPED => Win32Error::ERROR_SOME_NOT_MAPPED,
            Self::STATUS_DATATYPE_MISALIGNMENT => Win32Error::ERROR_NOACCESS,
            Self::STATUS_BUFFER_OVERFLOW => Win32Error::ERROR_MORE_DATA,
            Self::STATUS_NO_MORE_FILES => Win32Error::ERROR_NO_MORE_FILES,
            Self::STATUS_DEVICE_BUSY => Win32Error::ERROR_BUSY,
            Self::STATUS_NO_MORE_ENTRIES => Win32Error::ERROR_NO_MORE_ITEMS,
            Self::STATUS_UNSUCCESSFUL => Win32Error::ERROR_GEN_FAILURE,
            Self::STATUS_NOT_IMPLEMENTED => Win32Error::ERROR_INVALID_FUNCTION,
            Self::STATUS_INVALID_INFO_CLASS => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_INFO_LENGTH_MISMATCH => Win32Error::ERROR_BAD_LENGTH,
            Self::STATUS_ACCESS_VIOLATION => Win32Error::ERROR_NOACCESS,
            Self::STATUS_INVALID_HANDLE => Win32Error::ERROR_INVALID_HANDLE,
            Self::STATUS_INVALID_PARAMETER => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_NO_SUCH_DEVICE => Win32Error::ERROR_FILE_NOT_FOUND,
            Self::STATUS_NO_SUCH_FILE => Win32Error::ERROR_FILE_NOT_FOUND,
            Self::STATUS_INVALID_DEVICE_REQUEST => Win32Error::ERROR_INVALID_FUNCTION,
            Self::STATUS_END_OF_FILE => Win32Error::ERROR_HANDLE_EOF,
            Self::STATUS_NO_MEMORY => Win32Error::ERROR_NOT_ENOUGH_MEMORY,
            Self::STATUS_CONFLICTING_ADDRESSES => Win32Error::ERROR_INVALID_ADDRESS,
            Self::STATUS_ACCESS_DENIED => Win32Error::ERROR_ACCESS_DENIED,
            Self::STATUS_BUFFER_TOO_SMALL => Win32Error::ERROR_INSUFFICIENT_BUFFER,
            Self::STATUS_OBJECT_TYPE_MISMATCH => Win32Error::ERROR_INVALID_HANDLE,
            Self::STATUS_INVALID_PARAMETER_MIX => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_OBJECT_NAME_INVALID => Win32Error::ERROR_INVALID_NAME,
            Self::STATUS_OBJECT_NAME_NOT_FOUND => Win32Error::ERROR_FILE_NOT_FOUND,
            Self::STATUS_OBJECT_NAME_COLLISION => Win32Error::ERROR_ALREADY_EXISTS,
            Self::STATUS_OBJECT_PATH_INVALID => Win32Error::ERROR_BAD_PATHNAME,
            Self::STATUS_OBJECT_PATH_NOT_FOUND => Win32Error::ERROR_PATH_NOT_FOUND,
            Self::STATUS_DATA_ERROR => Win32Error::ERROR_CRC,
            Self::STATUS_SHARING_VIOLATION => Win32Error::ERROR_SHARING_VIOLATION,
            Self::STATUS_QUOTA_EXCEEDED => Win32Error::ERROR_NOT_ENOUGH_QUOTA,
            Self::STATUS_SEMAPHORE_LIMIT_EXCEEDED => Win32Error::ERROR_TOO_MANY_POSTS,
            Self::STATUS_DELETE_PENDING => Win32Error::ERROR_ACCESS_DENIED,
            Self::STATUS_REVISION_MISMATCH => Win32Error::ERROR_REVISION_MISMATCH,
            Self::STATUS_PRIVILEGE_NOT_HELD => Win32Error::ERROR_PRIVILEGE_NOT_HELD,
            Self::STATUS_PROCEDURE_NOT_FOUND => Win32Error::ERROR_PROC_NOT_FOUND,
            Self::STATUS_INVALID_IMAGE_FORMAT => Win32Error::ERROR_BAD_EXE_FORMAT,
            Self::STATUS_DISK_FULL => Win32Error::ERROR_DISK_FULL,
            Self::STATUS_INTEGER_OVERFLOW => Win32Error::ERROR_ARITHMETIC_OVERFLOW,
            Self::STATUS_INSUFFICIENT_RESOURCES => Win32Error::ERROR_NO_SYSTEM_RESOURCES,
            Self::STATUS_DEVICE_NOT_CONNECTED => Win32Error::ERROR_DEVICE_NOT_CONNECTED,
            Self::STATUS_DEVICE_NOT_READY => Win32Error::ERROR_NOT_READY,
            Self::STATUS_IO_TIMEOUT => Win32Error::ERROR_SEM_TIMEOUT,
            Self::STATUS_FILE_IS_A_DIRECTORY => Win32Error::ERROR_ACCESS_DENIED,
            Self::STATUS_NOT_SUPPORTED => Win32Error::ERROR_NOT_SUPPORTED,
            Self::STATUS_DEVICE_DOES_NOT_EXIST => Win32Error::ERROR_DEV_NOT_EXIST,
            Self::STATUS_NO_SECURITY_ON_OBJECT => Win32Error::ERROR_NO_SECURITY_ON_OBJECT,
            Self::STATUS_INTERNAL_ERROR => Win32Error::ERROR_INTERNAL_ERROR,
            Self::STATUS_INVALID_USER_BUFFER => Win32Error::ERROR_INVALID_USER_BUFFER,
            Self::STATUS_INVALID_PARAMETER_1 => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_INVALID_PARAMETER_2 => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_INVALID_PARAMETER_3 => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_INVALID_PARAMETER_4 => Win32Error::ERROR_INVALID_PARAMETER,
            Self::STATUS_STACK_OVERFLOW => Win32Error::ERROR_STACK_OVERFLOW,
            Self::STATUS_NOT_A_DIRECTORY => Win32Error::ERROR_DIRECTORY,
            Self::STATUS_NAME_TOO_LONG => Win32Error::ERROR_FILENAME_EXCED_RANGE,
            Self::STATUS_TOO_MANY_OPENED_FILES => Win32Error::ERROR_TOO_MANY_OPEN_FILES,
            Self::STATUS_CANCELLED => Win32Error::ERROR_OPERATION_ABORTED,
            Self::STATUS_FILE_CLOSED => Win32Error::ERROR_INVALID_HANDLE,
            Self::STATUS_DLL_NOT_FOUND => Win32Error::ERROR_MOD_NOT_FOUND,
            Self::STATUS_ENTRYPOINT_NOT_FOUND => Win32Error::ERROR_PROC_NOT_FOUND,
            Self::STATUS_PIPE_BROKEN => Win32Error::ERROR_BROKEN_PIPE,
            Self::STATUS_INVALID_DEVICE_STATE => Win32Error::ERROR_BAD_COMMAND,
            Self::STATUS_IO_DEVICE_ERROR => Win32Error::ERROR_IO_DEVICE,
            Self::STATUS_DEVICE_PROTOCOL_ERROR => Win32Error::ERROR_IO_DEVICE,
            Self::STATUS_INVALID_BUFFER_SIZE => Win32Error::ERROR_INVALID_USER_BUFFER,
            Self::STATUS_NOT_FOUND => Win32Error::ERROR_NOT_FOUND,
            Self::STATUS_PROPSET_NOT_FOUND => Win32Error::ERROR_SET_NOT_FOUND,
            Self::STATUS_REQUEST_ABORTED => Win32Error::ERROR_REQUEST_ABORTED,
            Self::STATUS_DRIVER_ENTRYPOINT_NOT_FOUND => Win32Error::ERROR_PROC_NOT_FOUND,
            Self::STATUS_NO_MATCH => Win32Error::ERROR_NO_MATCH,
            Self::STATUS_DEVICE_REMOVED => Win32Error::ERROR_DEVICE_REMOVED,
            Self::STATUS_NOINTERFACE => Win32Error::ERROR_NOINTERFACE,
            _ if self.is_success() => Win32Error::ERROR_SUCCESS,
            _ => Win32Error::ERROR_MR_MID_NOT_FOUND,
        }
    }

    /// `Ok` for success and information, else the status as error.
    pub const fn ok(self) -> Result<(), Self> {
        if self.is_success() { Ok(()) } else { Err(self) }
    }
}

impl Default for NtStatus {
    fn default() -> Self {
        Self::STATUS_SUCCESS
    }
}

impl fmt::Display for NtStatus {
    /// `STATUS_NO_MATCH (0xC0000272)`, or `STATUS_0xC0001234` for an unknown code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_name() {
            Some(name) => write!(f, "{name} (0x{:08X})", self.0),
            None => write!(f, "STATUS_0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for NtStatus {}

/// A Win32 error code, as the user-mode functions that return a DWORD give it.
#[doc(alias = "GetLastError")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Win32Error(pub u32);

impl Win32Error {
    /// The header's name, or `ERROR_UNKNOWN`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.known_name() {
            Some(name) => name,
            None => "ERROR_UNKNOWN",
        }
    }

    /// Whether this is `ERROR_SUCCESS`.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Win32Error {
    /// `ERROR_NO_MATCH (1169)`, or `ERROR_12345` for an unknown code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "ERROR_{}", self.0),
        }
    }
}

impl fmt::Debug for Win32Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Win32Error {}

impl From<NtStatus> for Win32Error {
    fn from(status: NtStatus) -> Self {
        status.to_win32()
    }
}

/// An HRESULT, as the functions with a `2` in their name give it.
#[doc(alias = "HRESULT")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct HResult(pub i32);

impl HResult {
    /// Success.
    #[doc(alias = "NOERROR")]
    pub const S_OK: Self = Self(0);
    /// COM is not initialized on this thread; the broker's functions need it.
    pub const CO_E_NOTINITIALIZED: Self = Self(0x8004_01F0_u32 as i32);
    /// An argument is invalid.
    pub const E_INVALIDARG: Self = Self(0x8007_0057_u32 as i32);
    /// A pointer is invalid.
    pub const E_POINTER: Self = Self(0x8000_4003_u32 as i32);
    /// The interface is not supported.
    pub const E_NOINTERFACE: Self = Self(0x8000_4002_u32 as i32);
    /// Not implemented.
    pub const E_NOTIMPL: Self = Self(0x8000_4001_u32 as i32);
    /// Unspecified failure.
    pub const E_FAIL: Self = Self(0x8000_4005_u32 as i32);

    /// The HRESULT of a Win32 error: facility 7 and the low 16 bits; 0 stays 0 and a value that is already negative
    /// as an HRESULT stays as it is.
    #[doc(alias = "HRESULT_FROM_WIN32")]
    pub const fn from_win32(error: Win32Error) -> Self {
        let value = error.0 as i32;
        if value <= 0 { Self(value) } else { Self((error.0 & 0xFFFF | 0x8007_0000) as i32) }
    }

    /// Whether the top bit is clear.
    #[must_use]
    #[doc(alias = "SUCCEEDED")]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }
}

impl fmt::Display for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HRESULT 0x{:08X}", self.0)?;
        if self.0 as u32 & 0xFFFF_0000 == 0x8007_0000 {
            write!(f, " ({})", Win32Error(self.0 as u32 & 0xFFFF))?;
        }
        Ok(())
    }
}

impl fmt::Debug for HResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Win32Error> for HResult {
    fn from(error: Win32Error) -> Self {
        Self::from_win32(error)
    }
}

impl From<NtStatus> for HResult {
    fn from(status: NtStatus) -> Self {
        Self::from_win32(status.to_win32())
    }
}

codes! { NtStatus {
    STATUS_SUCCESS = 0x00000000,
    STATUS_ABANDONED_WAIT_0 = 0x00000080,
    STATUS_USER_APC = 0x000000C0,
    STATUS_KERNEL_APC = 0x00000100,
    STATUS_ALERTED = 0x00000101,
    STATUS_TIMEOUT = 0x00000102,
    STATUS_PENDING = 0x00000103,
    STATUS_REPARSE = 0x00000104,
    STATUS_MORE_ENTRIES = 0x00000105,
    STATUS_SOME_NOT_MAPPED = 0x00000107,
    STATUS_NOTIFY_CLEANUP = 0x0000010B,
    STATUS_IMAGE_MACHINE_TYPE_MISMATCH = 0x4000000E,
    STATUS_GUARD_PAGE_VIOLATION = 0x80000001,
    STATUS_DATATYPE_MISALIGNMENT = 0x80000002,
    STATUS_BREAKPOINT = 0x80000003,
    STATUS_SINGLE_STEP = 0x80000004,
    STATUS_BUFFER_OVERFLOW = 0x80000005,
    STATUS_NO_MORE_FILES = 0x80000006,
    STATUS_DEVICE_BUSY = 0x80000011,
    STATUS_NO_MORE_ENTRIES = 0x8000001A,
    STATUS_UNSUCCESSFUL = 0xC0000001,
    STATUS_NOT_IMPLEMENTED = 0xC0000002,
    STATUS_INVALID_INFO_CLASS = 0xC0000003,
    STATUS_INFO_LENGTH_MISMATCH = 0xC0000004,
    STATUS_ACCESS_VIOLATION = 0xC0000005,
    STATUS_IN_PAGE_ERROR = 0xC0000006,
    STATUS_INVALID_HANDLE = 0xC0000008,
    STATUS_INVALID_CID = 0xC000000B,
    STATUS_INVALID_PARAMETER = 0xC000000D,
    STATUS_NO_SUCH_DEVICE = 0xC000000E,
    STATUS_NO_SUCH_FILE = 0xC000000F,
    STATUS_INVALID_DEVICE_REQUEST = 0xC0000010,
    STATUS_END_OF_FILE = 0xC0000011,
    STATUS_UNRECOGNIZED_MEDIA = 0xC0000014,
    STATUS_NONEXISTENT_SECTOR = 0xC0000015,
    STATUS_MORE_PROCESSING_REQUIRED = 0xC0000016,
    STATUS_NO_MEMORY = 0xC0000017,
    STATUS_CONFLICTING_ADDRESSES = 0xC0000018,
    STATUS_ILLEGAL_INSTRUCTION = 0xC000001D,
    STATUS_INVALID_LOCK_SEQUENCE = 0xC000001E,
    STATUS_ALREADY_COMMITTED = 0xC0000021,
    STATUS_ACCESS_DENIED = 0xC0000022,
    STATUS_BUFFER_TOO_SMALL = 0xC0000023,
    STATUS_OBJECT_TYPE_MISMATCH = 0xC0000024,
    STATUS_INVALID_PARAMETER_MIX = 0xC0000030,
    STATUS_OBJECT_NAME_INVALID = 0xC0000033,
    STATUS_OBJECT_NAME_NOT_FOUND = 0xC0000034,
    STATUS_OBJECT_NAME_COLLISION = 0xC0000035,
    STATUS_PORT_DISCONNECTED = 0xC0000037,
    STATUS_DEVICE_ALREADY_ATTACHED = 0xC0000038,
    STATUS_OBJECT_PATH_INVALID = 0xC0000039,
    STATUS_OBJECT_PATH_NOT_FOUND = 0xC000003A,
    STATUS_DATA_OVERRUN = 0xC000003C,
    STATUS_DATA_LATE_ERROR = 0xC000003D,
    STATUS_DATA_ERROR = 0xC000003E,
    STATUS_SHARING_VIOLATION = 0xC0000043,
    STATUS_QUOTA_EXCEEDED = 0xC0000044,
    STATUS_SEMAPHORE_LIMIT_EXCEEDED = 0xC0000047,
    STATUS_DELETE_PENDING = 0xC0000056,
    STATUS_REVISION_MISMATCH = 0xC0000059,
    STATUS_PRIVILEGE_NOT_HELD = 0xC0000061,
    STATUS_LOGON_FAILURE = 0xC000006D,
    STATUS_PROCEDURE_NOT_FOUND = 0xC000007A,
    STATUS_INVALID_IMAGE_FORMAT = 0xC000007B,
    STATUS_DISK_FULL = 0xC000007F,
    STATUS_RESOURCE_DATA_NOT_FOUND = 0xC0000089,
    STATUS_RESOURCE_TYPE_NOT_FOUND = 0xC000008A,
    STATUS_RESOURCE_NAME_NOT_FOUND = 0xC000008B,
    STATUS_INTEGER_DIVIDE_BY_ZERO = 0xC0000094,
    STATUS_INTEGER_OVERFLOW = 0xC0000095,
    STATUS_PRIVILEGED_INSTRUCTION = 0xC0000096,
    STATUS_FILE_INVALID = 0xC0000098,
    STATUS_ALLOTTED_SPACE_EXCEEDED = 0xC0000099,
    STATUS_INSUFFICIENT_RESOURCES = 0xC000009A,
    STATUS_DEVICE_DATA_ERROR = 0xC000009C,
    STATUS_DEVICE_NOT_CONNECTED = 0xC000009D,
    STATUS_DEVICE_POWER_FAILURE = 0xC000009E,
    STATUS_DEVICE_NOT_READY = 0xC00000A3,
    STATUS_INSTANCE_NOT_AVAILABLE = 0xC00000AB,
    STATUS_INVALID_PIPE_STATE = 0xC00000AD,
    STATUS_IO_TIMEOUT = 0xC00000B5,
    STATUS_FILE_IS_A_DIRECTORY = 0xC00000BA,
    STATUS_NOT_SUPPORTED = 0xC00000BB,
    STATUS_DEVICE_DOES_NOT_EXIST = 0xC00000C0,
    STATUS_REQUEST_NOT_ACCEPTED = 0xC00000D0,
    STATUS_NOT_SAME_DEVICE = 0xC00000D4,
    STATUS_NO_SECURITY_ON_OBJECT = 0xC00000D7,
    STATUS_INTERNAL_ERROR = 0xC00000E5,
    STATUS_INVALID_USER_BUFFER = 0xC00000E8,
    STATUS_INVALID_PARAMETER_1 = 0xC00000EF,
    STATUS_INVALID_PARAMETER_2 = 0xC00000F0,
    STATUS_INVALID_PARAMETER_3 = 0xC00000F1,
    STATUS_INVALID_PARAMETER_4 = 0xC00000F2,
    STATUS_STACK_OVERFLOW = 0xC00000FD,
    STATUS_NOT_A_DIRECTORY = 0xC0000103,
    STATUS_NAME_TOO_LONG = 0xC0000106,
    STATUS_TOO_MANY_OPENED_FILES = 0xC000011F,
    STATUS_CANCELLED = 0xC0000120,
    STATUS_FILE_CLOSED = 0xC0000128,
    STATUS_DLL_NOT_FOUND = 0xC0000135,
    STATUS_ENTRYPOINT_NOT_FOUND = 0xC0000139,
    STATUS_INVALID_ADDRESS = 0xC0000141,
    STATUS_PIPE_BROKEN = 0xC000014B,
    STATUS_SHARED_IRQ_BUSY = 0xC000016C,
    STATUS_DEVICE_CONFIGURATION_ERROR = 0xC0000182,
    STATUS_INVALID_DEVICE_STATE = 0xC0000184,
    STATUS_IO_DEVICE_ERROR = 0xC0000185,
    STATUS_DEVICE_PROTOCOL_ERROR = 0xC0000186,
    STATUS_TOO_LATE = 0xC0000189,
    STATUS_INVALID_BUFFER_SIZE = 0xC0000206,
    STATUS_IMAGE_CHECKSUM_MISMATCH = 0xC0000221,
    STATUS_NOT_FOUND = 0xC0000225,
    STATUS_RETRY = 0xC000022D,
    STATUS_PROPSET_NOT_FOUND = 0xC0000230,
    STATUS_HANDLE_NOT_CLOSABLE = 0xC0000235,
    STATUS_REQUEST_ABORTED = 0xC0000240,
    STATUS_DRIVER_ENTRYPOINT_NOT_FOUND = 0xC0000263,
    STATUS_DRIVER_UNABLE_TO_LOAD = 0xC000026C,
    STATUS_NO_MATCH = 0xC0000272,
    STATUS_DEVICE_REMOVED = 0xC00002B6,
    STATUS_NOINTERFACE = 0xC00002B9,
    STATUS_VERIFIER_STOP = 0xC0000421,
    STATUS_ALREADY_REGISTERED = 0xC0000718,
    STATUS_ACPI_INVALID_DATA = 0xC014000F,
    STATUS_OBJECT_NO_LONGER_EXISTS = 0xC0190021,
    STATUS_GRAPHICS_ALLOCATION_BUSY = 0xC01E0102,
} }

codes! { Win32Error {
    ERROR_SUCCESS = 0,
    ERROR_INVALID_FUNCTION = 1,
    ERROR_FILE_NOT_FOUND = 2,
    ERROR_PATH_NOT_FOUND = 3,
    ERROR_TOO_MANY_OPEN_FILES = 4,
    ERROR_ACCESS_DENIED = 5,
    ERROR_INVALID_HANDLE = 6,
    ERROR_NOT_ENOUGH_MEMORY = 8,
    ERROR_NO_MORE_FILES = 18,
    ERROR_NOT_READY = 21,
    ERROR_BAD_COMMAND = 22,
    ERROR_CRC = 23,
    ERROR_BAD_LENGTH = 24,
    ERROR_GEN_FAILURE = 31,
    ERROR_SHARING_VIOLATION = 32,
    ERROR_HANDLE_EOF = 38,
    ERROR_NOT_SUPPORTED = 50,
    ERROR_DEV_NOT_EXIST = 55,
    ERROR_INVALID_PARAMETER = 87,
    ERROR_BROKEN_PIPE = 109,
    ERROR_DISK_FULL = 112,
    ERROR_SEM_TIMEOUT = 121,
    ERROR_INSUFFICIENT_BUFFER = 122,
    ERROR_INVALID_NAME = 123,
    ERROR_MOD_NOT_FOUND = 126,
    ERROR_PROC_NOT_FOUND = 127,
    ERROR_BAD_PATHNAME = 161,
    ERROR_BUSY = 170,
    ERROR_ALREADY_EXISTS = 183,
    ERROR_BAD_EXE_FORMAT = 193,
    ERROR_FILENAME_EXCED_RANGE = 206,
    ERROR_MORE_DATA = 234,
    ERROR_NO_MORE_ITEMS = 259,
    ERROR_DIRECTORY = 267,
    ERROR_TOO_MANY_POSTS = 298,
    ERROR_MR_MID_NOT_FOUND = 317,
    ERROR_INVALID_ADDRESS = 487,
    ERROR_ARITHMETIC_OVERFLOW = 534,
    ERROR_NOINTERFACE = 632,
    ERROR_OPERATION_ABORTED = 995,
    ERROR_IO_PENDING = 997,
    ERROR_NOACCESS = 998,
    ERROR_STACK_OVERFLOW = 1001,
    ERROR_IO_DEVICE = 1117,
    ERROR_DEVICE_NOT_CONNECTED = 1167,
    ERROR_NOT_FOUND = 1168,
    ERROR_NO_MATCH = 1169,
    ERROR_SET_NOT_FOUND = 1170,
    ERROR_REQUEST_ABORTED = 1235,
    ERROR_SOME_NOT_MAPPED = 1301,
    ERROR_REVISION_MISMATCH = 1306,
    ERROR_PRIVILEGE_NOT_HELD = 1314,
    ERROR_NO_SECURITY_ON_OBJECT = 1350,
    ERROR_INTERNAL_ERROR = 1359,
    ERROR_NO_SYSTEM_RESOURCES = 1450,
    ERROR_TIMEOUT = 1460,
    ERROR_DEVICE_REMOVED = 1617,
    ERROR_INVALID_USER_BUFFER = 1784,
    ERROR_NOT_ENOUGH_QUOTA = 1816,
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_answer_is_a_warning_and_no_success() {
        assert!(STATUS_BUFFER_OVERFLOW.is_warning());
        assert!(!STATUS_BUFFER_OVERFLOW.is_success());
        assert!(STATUS_PENDING.is_success());
        assert!(STATUS_NO_MATCH.is_error());
    }

    #[test]
    fn clients_see_the_win32_codes_they_test_for() {
        for (status, error) in [
            (STATUS_NO_MATCH, 1169),
            (STATUS_PROPSET_NOT_FOUND, 1170),
            (STATUS_NOT_FOUND, 1168),
            (STATUS_BUFFER_OVERFLOW, 234),
            (STATUS_BUFFER_TOO_SMALL, 122),
            (STATUS_INVALID_DEVICE_REQUEST, 1),
            (STATUS_DEVICE_NOT_READY, 21),
            (STATUS_INVALID_DEVICE_STATE, 22),
            (STATUS_INSUFFICIENT_RESOURCES, 1450),
            (STATUS_INVALID_PARAMETER, 87),
            (STATUS_INVALID_BUFFER_SIZE, 1784),
            (STATUS_NO_MORE_ENTRIES, 259),
            (STATUS_CANCELLED, 995),
            (STATUS_PENDING, 997),
            (STATUS_ACCESS_DENIED, 5),
            (STATUS_OBJECT_NAME_NOT_FOUND, 2),
            (STATUS_SUCCESS, 0),
        ] {
            assert_eq!(status.to_win32().0, error, "{status}");
        }
        assert_eq!(NtStatus(0xC123_4567).to_win32(), Win32Error::ERROR_MR_MID_NOT_FOUND);
    }

    #[test]
    fn codes_print_name_and_value() {
        assert_eq!(STATUS_NO_MATCH.to_string(), "STATUS_NO_MATCH (0xC0000272)");
        assert_eq!(NtStatus(0xC000_1234).to_string(), "STATUS_0xC0001234");
        assert_eq!(ERROR_NO_MATCH.to_string(), "ERROR_NO_MATCH (1169)");
        assert_eq!(HResult::from(STATUS_NO_MATCH).to_string(), "HRESULT 0x80070491 (ERROR_NO_MATCH (1169))");
        assert_eq!(HResult::from(STATUS_SUCCESS), HResult::S_OK);
    }
}
