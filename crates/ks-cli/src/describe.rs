//! GUIDs as people read them.

use ks_abi::Guid;

/// The header's name of a GUID, else its registry form.
pub(crate) fn guid(guid: Guid) -> String {
    guid.name().map_or_else(|| guid.to_string(), str::to_owned)
}

/// The last part of a header's name in lower case: `KSCATEGORY_VIDEO_CAMERA` is "video camera".
pub(crate) fn short(name: &str) -> String {
    let short = ["KSCATEGORY_", "KSNODETYPE_", "PINNAME_VIDEO_", "PINNAME_"].iter().find_map(|p| name.strip_prefix(p));
    short.map_or_else(|| name.to_owned(), |short| short.to_lowercase().replace('_', " "))
}

#[cfg(test)]
mod tests {
    use ks_abi::KSCATEGORY_CAPTURE;

    use super::*;

    #[test]
    fn known_guids_have_names() {
        assert_eq!(guid(KSCATEGORY_CAPTURE), "KSCATEGORY_CAPTURE");
        assert_eq!(short("KSCATEGORY_CAPTURE"), "capture");
        assert_eq!(guid(Guid::from_u128(1)), "{00000000-0000-0000-0000-000000000001}");
    }
}
