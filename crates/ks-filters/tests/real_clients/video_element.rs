//! The video capture element.

use crate::client::*;
use ks_abi::*;
use ks_io::{AccessMask, Handle, Transport};
use ks_mem::Frame;
use zerocopy::{FromBytes, IntoBytes};

/// What the capture element keeps of a format of the camera.
struct VideoPin {
    id: u32,
    range: KsDataRangeVideo,
}

impl Client {
    /// The set GUIDs that an object says it supports.
    fn sets(&self, handle: Handle) -> Vec<Guid> {
        let request = KsProperty::new(Guid::NULL, 0, 0x100);
        let list = self.sized(handle, request.as_bytes()).unwrap();
        assert_eq!(list.len() % 16, 0);
        list.chunks_exact(16).map(|one| Guid::read_from_bytes(one).unwrap()).collect()
    }

    /// The capture pin of a filter, and its first range that the element can use.
    fn video_pin(&self, filter: Handle) -> Option<VideoPin> {
        let count: u32 = self.fixed(filter, &property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES)).unwrap();
        (0..count).find_map(|id| {
            let communication: KsPinCommunication =
                self.fixed(filter, &of_pin(KSPROPERTY_PIN_COMMUNICATION, id)).unwrap();
            assert!(communication == KsPinCommunication::SINK || communication == KsPinCommunication::BOTH);
            let flow: KsPinDataFlow = self.fixed(filter, &of_pin(KSPROPERTY_PIN_DATAFLOW, id)).unwrap();
            let category: Guid = self.fixed(filter, &of_pin(KSPROPERTY_PIN_CATEGORY, id)).ok()?;
            if flow != KsPinDataFlow::OUT || category != PINNAME_VIDEO_CAPTURE {
                return None;
            }
            let list = self.sized(filter, &of_pin(KSPROPERTY_PIN_DATARANGES, id)).unwrap();
            let mut at = 8;
            let mut usable = Vec::new();
            for _ in 0..word(&list, 4) {
                // Stepped by FormatSize, without alignment.
                let (head, _) = KsDataFormat::read_from_prefix(&list[at..]).unwrap();
                if head.specifier == KSDATAFORMAT_SPECIFIER_VIDEOINFO {
                    let (range, _) = KsDataRangeVideo::read_from_prefix(&list[at..]).unwrap();
                    let bitmap = range.video_info.bitmap;
                    let size = range.config_caps.input_size;
                    assert_ne!(bitmap.size_image, 0);
                    assert_eq!(
                        (size.width, size.height),
                        (bitmap.width, bitmap.height.abs()),
                        "equal in range and header"
                    );
                    usable.push(range);
                }
                at += head.format_size as usize;
            }
            assert_eq!(at, list.len(), "stepping without alignment meets the end");
            let range = usable.into_iter().next()?;
            Some(VideoPin { id, range })
        })
    }
}

#[test]
fn a_capture_element_finds_opens_and_streams_a_camera() {
    let client = client();
    let cameras: Vec<_> = client
        .session
        .interfaces(Some(KSCATEGORY_VIDEO))
        .into_iter()
        .filter(|interface| client.alias(interface, KSCATEGORY_CAPTURE))
        .collect();
    let names: Vec<_> = cameras.iter().map(|one| one.friendly_name.as_str()).collect();
    assert_eq!(names, ["Test camera"]);
    let clocks = client.session.interfaces(Some(KSCATEGORY_CLOCK));
    assert!(!clocks.iter().any(|one| client.alias(one, KSCATEGORY_CAPTURE)), "no clock: the element does without");
    let link = &cameras[0].symbolic_link;
    // Opened once for sorting, closed, and opened to stay.
    for _ in 0..2 {
        let filter = client.session.open(link, READ_WRITE).unwrap();
        assert!(client.sets(filter).contains(&KSPROPSETID_Pin));
        assert!(client.session.close(filter).status.is_success());
    }
    let filter = client.session.open(link, READ_WRITE).unwrap();
    let video = client.video_pin(filter).expect("a pin of PINNAME_VIDEO_CAPTURE");
    let head = KsDataFormat { format_size: 64 + 88, ..video.range.data_range };
    let format = [head.as_bytes(), video.range.video_info.as_bytes()].concat();
    assert_eq!(72 + format.len(), 224);
    let stream = client
        .create_pin(filter, (video.id, KSINTERFACE_STANDARD_STREAMING), &format, AccessMask::GENERIC_READ)
        .unwrap();
    let sets = client.sets(stream);
    assert!(sets.contains(&KSPROPSETID_Connection) && sets.contains(&KSPROPSETID_Stream));
    assert!(!sets.contains(&KSPROPSETID_MemoryTransport), "then the element does not ask for it");
    let framing = client.sized(stream, &property(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_ALLOCATORFRAMING_EX));
    let framing = KsAllocatorFramingEx::read_from_bytes(&framing.unwrap()).unwrap();
    let reads = framing.framing_item[0].frames.clamp(1, 128) as usize;
    for state in [KsState::ACQUIRE, KsState::PAUSE, KsState::RUN] {
        client.set_state(stream, state);
    }
    // The reads come after RUN, with room for a KS_FRAME_INFO behind each header.
    let bytes = video.range.video_info.bitmap.size_image as usize;
    let frames: Vec<Frame> = (0..reads).map(|_| client.session.allocate(bytes, 64).unwrap()).collect();
    let read = |frame| client.submit(stream, READ_STREAM, frame, bytes, 128, 0x110);
    let mut waiting: std::collections::VecDeque<_> = frames.iter().map(|frame| (frame, read(frame))).collect();
    let mut last = -1;
    for _ in 0..30 {
        let (frame, request) = waiting.pop_front().unwrap();
        let finished = request.wait();
        assert_eq!(used(&finished) as usize, bytes);
        assert_eq!(word(&finished.output, 48) & 0x110, 0x110, "time and duration are told");
        let time = i64::from_le_bytes(finished.output[8..16].try_into().unwrap());
        assert!(time > last, "{time} after {last}");
        last = time;
        waiting.push_back((frame, read(frame)));
    }
    client.set_state(stream, KsState::PAUSE);
    client.set_state(stream, KsState::STOP);
    for (_, request) in waiting {
        let _ = request.wait();
    }
    assert!(client.session.close(stream).status.is_success());
    assert!(client.session.close(filter).status.is_success());
    assert_eq!(client.session.open_handles(), 0);
}
