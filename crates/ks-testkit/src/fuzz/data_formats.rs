//! Data formats and lists of data ranges, to the parser and to every filter that looks at them.
//!
//! The first byte names the filter, the second what is asked of it and of which pin; the rest is the format, or the list of
//! ranges, as it is.

use ks_abi::{
    IoControlCode, KSPROPERTY_CONNECTION_DATAFORMAT, KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT,
    KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_PIN_PROPOSEDATAFORMAT, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET,
    KSPROPSETID_Connection, KSPROPSETID_Pin, KsIdentifier,
};
use ks_io::Transport;
use ks_stream::{DataFormat, FilterDescriptor};
use zerocopy::IntoBytes;

use super::allowance::Allowance;
use super::bytes::Bytes;
use crate::scene::Scene;

const FILTERS: [fn() -> FilterDescriptor; 8] = [
    ks_filters::test_camera::descriptor,
    ks_filters::test_microphone::descriptor,
    ks_filters::wav_writer::descriptor,
    ks_filters::y4m_writer::descriptor,
    ks_filters::null_renderer::descriptor,
    ks_filters::pass_through::descriptor,
    ks_filters::audio_converter::descriptor,
    ks_filters::video_converter::descriptor,
];

/// Parses the bytes, and asks a filter and a pin what they make of them. A format that parses is a whole: parsed again it
/// is itself. A success must not claim more bytes than there is room for.
///
/// # Panics
/// When one of these does not hold: that is what the fuzzer looks for.
pub fn data_formats(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (filter, question) = (usize::from(bytes.u8()), bytes.u8());
    let format = bytes.take_rest();
    let allowed = Allowance::start(2 * format.len());
    let parsed = DataFormat::parse(format);
    allowed.check();
    #[cfg(feature = "planted-bug")]
    planted_bug(format);
    if let Ok((parsed, used)) = parsed {
        // The next of a list begins at a multiple of eight.
        let ends = parsed.bytes().len() <= format.len() && used == parsed.bytes().len().next_multiple_of(8);
        assert!(ends || used == parsed.bytes().len(), "a format ends where it is read to");
        let again = DataFormat::parse(parsed.bytes());
        assert!(again.is_ok_and(|(again, _)| again.bytes() == parsed.bytes()), "a format that parses is a whole");
    }
    let scene = Scene::connectable().with(FILTERS[filter % FILTERS.len()]());
    let pin_id = u32::from(question >> 2) % 4;
    let of_pin = |item, flags| {
        let identifier = KsIdentifier::new(KSPROPSETID_Pin, item, flags);
        [identifier.as_bytes(), &pin_id.to_le_bytes(), &[0; 4]].concat()
    };
    let of_connection = |item| KsIdentifier::new(KSPROPSETID_Connection, item, KSPROPERTY_TYPE_SET).as_bytes().to_vec();
    let (handle, input, mut output) = match question % 4 {
        0 => {
            let input = [of_pin(KSPROPERTY_PIN_DATAINTERSECTION, KSPROPERTY_TYPE_GET).as_slice(), format].concat();
            (scene.other(), input, vec![0xA5; 512])
        }
        1 => (scene.other(), of_pin(KSPROPERTY_PIN_PROPOSEDATAFORMAT, KSPROPERTY_TYPE_SET), format.to_vec()),
        2 => (scene.sink_pin(), of_connection(KSPROPERTY_CONNECTION_PROPOSEDATAFORMAT), format.to_vec()),
        _ => (scene.sink_pin(), of_connection(KSPROPERTY_CONNECTION_DATAFORMAT), format.to_vec()),
    };
    let room = output.len();
    let allowed = Allowance::start(4 * (input.len() + room));
    let outcome = scene.session().device_io_control(handle, IoControlCode::KS_PROPERTY, &input, &mut output);
    allowed.check();
    assert!(!outcome.status.is_success() || outcome.information <= room, "more than there is room for");
    scene.end();
}

/// Trusts the Count of a list of attributes.
#[cfg(feature = "planted-bug")]
fn planted_bug(format: &[u8]) {
    use ks_abi::{KSDATAFORMAT_ATTRIBUTES, KsDataFormat, KsMultipleItem};
    use zerocopy::FromBytes;

    let Ok((head, _)) = KsDataFormat::read_from_prefix(format) else { return };
    let behind = format.get((head.format_size as usize).next_multiple_of(8)..).unwrap_or_default();
    if head.flags & KSDATAFORMAT_ATTRIBUTES != 0
        && let Ok((list, _)) = KsMultipleItem::read_from_prefix(behind)
    {
        assert!(list.count < 64, "planted bug");
    }
}
