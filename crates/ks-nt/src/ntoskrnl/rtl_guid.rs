//! GUIDs and their text.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use ks_abi::guid::Guid;
use ks_abi::kernel::UnicodeString;
use ks_abi::status::{NtStatus, STATUS_INVALID_PARAMETER, STATUS_SUCCESS};

use super::driver_memory::{put, unicode_string};
use super::random::random_bytes;
use super::rtl_string::deliver;
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl: RtlGUIDFromString, RtlStringFromGUID, ExUuidCreate);

/// `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`; what follows the brace is not looked at.
fn parse(units: &[u16]) -> Option<Guid> {
    let text: String = char::decode_utf16(units.iter().copied()).map(|c| c.unwrap_or('?')).take(38).collect();
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let groups: Vec<&str> = inner.split('-').collect();
    let whole = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    if !whole || !groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return None;
    }
    u128::from_str_radix(&groups.concat(), 16).ok().map(Guid::from_u128)
}

/// The text that [`parse`] reads, with letters in upper case.
pub(crate) fn text(guid: &Guid) -> String {
    let d = guid.data4;
    format!(
        "{{{:08X}-{:04X}-{:04X}-{:02X}{:02X}-{:02X}{:02X}{:02X}{:02X}{:02X}{:02X}}}",
        guid.data1, guid.data2, guid.data3, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]
    )
}

pub(crate) unsafe extern "win64" fn RtlGUIDFromString(string: *const UnicodeString, guid: *mut Guid) -> NtStatus {
    match parse(&unicode_string(string)) {
        Some(value) => {
            put(guid, value);
            STATUS_SUCCESS
        }
        None => STATUS_INVALID_PARAMETER,
    }
}

/// The text is allocated; `RtlFreeUnicodeString` frees it.
pub(crate) unsafe extern "win64" fn RtlStringFromGUID(guid: *const Guid, string: *mut UnicodeString) -> NtStatus {
    let units: Vec<u16> = text(&super::driver_memory::get(guid)).encode_utf16().collect();
    deliver(string, &units, 1)
}

/// A random (version 4) identifier.
pub(crate) unsafe extern "win64" fn ExUuidCreate(uuid: *mut Guid) -> NtStatus {
    let random = u128::from_le_bytes(random_bytes());
    let version = random & !(0xF << 76) | 4 << 76;
    put(uuid, Guid::from_u128(version & !(0b11 << 62) | 0b10 << 62));
    STATUS_SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_read_as_it_is_written() {
        let guid = Guid::from_u128(0x6994AD05_93EF_11D0_A3CC_00A0C9223196);
        assert_eq!(text(&guid), "{6994AD05-93EF-11D0-A3CC-00A0C9223196}");
        assert_eq!(parse(&text(&guid).encode_utf16().collect::<Vec<_>>()), Some(guid));
        for bad in ["", "{}", "{6994AD05-93EF-11D0-A3CC-00A0C922319}", "6994AD05-93EF-11D0-A3CC-00A0C9223196}", "{６"]
        {
            assert_eq!(parse(&bad.encode_utf16().collect::<Vec<_>>()), None, "{bad}");
        }
    }
}
