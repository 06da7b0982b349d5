//! What two real clients ask, request by request over raw device control, as an audio host and a video capture element
//! send it: their order, the sizes that they rely on, and what they require of an answer.
#![expect(clippy::unwrap_used, reason = "tests")]

use ks_abi::*;
use ks_io::{AccessMask, Finished, Handle, InterfaceInfo, Outcome, Request, Services, Session, Transport};
use ks_mem::Frame;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// A client that knows nothing but handles, codes and bytes.
struct Client {
    _system: ks_filters::System,
    session: Arc<Session>,
}

const READ_WRITE: AccessMask = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);

fn client() -> Client {
    let system = ks_filters::system(Services::virtual_time(11)).unwrap();
    let session = system.session();
    Client { _system: system, session }
}

fn property(set: Guid, id: u32) -> Vec<u8> {
    KsProperty::new(set, id, KSPROPERTY_TYPE_GET).as_bytes().to_vec()
}

fn of_pin(id: u32, pin_id: u32) -> Vec<u8> {
    let property = KsProperty::new(KSPROPSETID_Pin, id, KSPROPERTY_TYPE_GET);
    KspPin { property, pin_id, flags: 0 }.as_bytes().to_vec()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Client {
    fn ask(&self, handle: Handle, request: &[u8], room: usize) -> (Outcome, Vec<u8>) {
        let mut answer = vec![0; room];
        let outcome = self.session.device_io_control(handle, IoControlCode(0x002F_0003), request, &mut answer);
        (outcome, answer)
    }

    /// A property of one size, which is answered in full.
    fn fixed<T: FromBytes>(&self, handle: Handle, request: &[u8]) -> Result<T, Win32Error> {
        let (outcome, answer) = self.ask(handle, request, size_of::<T>());
        if !outcome.status.is_success() {
            return Err(outcome.status.to_win32());
        }
        assert_eq!(outcome.information, size_of::<T>());
        Ok(T::read_from_bytes(&answer).unwrap())
    }

    /// Size and data: the first call, without output, must fail with ERROR_MORE_DATA and tell the size.
    fn sized(&self, handle: Handle, request: &[u8]) -> Result<Vec<u8>, Win32Error> {
        let (size, _) = self.ask(handle, request, 0);
        match size.status.to_win32() {
            Win32Error::ERROR_MORE_DATA => {}
            other => return Err(other),
        }
        let (outcome, answer) = self.ask(handle, request, size.information);
        assert!(outcome.status.is_success(), "the size was told, and is not enough: {}", outcome.status);
        assert_eq!(outcome.information, size.information);
        Ok(answer)
    }

    fn set_state(&self, pin: Handle, state: KsState) {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        let code = IoControlCode(0x002F_0003);
        let outcome = self.session.device_io_control(pin, code, request.as_bytes(), &mut state.0.to_le_bytes());
        assert!(outcome.status.is_success(), "{state}: {}", outcome.status);
    }

    /// Is the same device and reference string registered under another category, too?
    fn alias(&self, interface: &InterfaceInfo, category: Guid) -> bool {
        let same = |one: &InterfaceInfo| one.device == interface.device && one.reference == interface.reference;
        self.session.interfaces(Some(category)).iter().any(same)
    }

    fn create_pin(&self, filter: Handle, pin_id: u32, format: &[u8], access: AccessMask) -> Result<Handle, Win32Error> {
        let connect = KsPinConnect {
            interface: KsIdentifier::new(KSINTERFACESETID_Standard, KSINTERFACE_STANDARD_STREAMING, 0),
            medium: KsIdentifier::new(KSMEDIUMSETID_Standard, 0, 0),
            pin_id,
            pin_to_handle: 0,
            priority: KsPriority { priority_class: 0x4000_0000, priority_sub_class: 1 },
            ..Default::default()
        };
        assert_eq!(connect.as_bytes().len(), 72);
        let parameters = [connect.as_bytes(), format].concat();
        let class = "{146F1A80-4791-11D0-A5D6-28DB04C10000}";
        self.session.create(filter, class, &parameters, access).map_err(|outcome| outcome.status.to_win32())
    }

    /// Submits one header of this many bytes over the frame.
    fn submit(
        &self,
        pin: Handle,
        code: u32,
        frame: &Frame,
        bytes: usize,
        header_bytes: usize,
        options: u32,
    ) -> Request {
        let mut header = vec![0; header_bytes];
        let used = if code == WRITE_STREAM { bytes as u32 } else { 0 };
        header[0..4].copy_from_slice(&(header_bytes as u32).to_le_bytes());
        header[16..20].copy_from_slice(&1u32.to_le_bytes());
        header[20..24].copy_from_slice(&1u32.to_le_bytes());
        header[32..36].copy_from_slice(&(bytes as u32).to_le_bytes());
        header[36..40].copy_from_slice(&used.to_le_bytes());
        header[40..48].copy_from_slice(&frame.address().to_le_bytes());
        header[48..52].copy_from_slice(&options.to_le_bytes());
        if header_bytes > 56 {
            // KS_FRAME_INFO.ExtendedHeaderSize
            header[56..60].copy_from_slice(&(header_bytes as u32 - 56).to_le_bytes());
        }
        self.session.submit(pin, IoControlCode(code), &[], header)
    }
}

const READ_STREAM: u32 = 0x002F_4017;
const WRITE_STREAM: u32 = 0x002F_8013;

/// DataUsed of a header that came back.
fn used(finished: &Finished) -> u32 {
    assert!(finished.outcome.status.is_success(), "{}", finished.outcome.status);
    word(&finished.output, 36)
}

/// What the audio host keeps of a streaming pin.
#[derive(Debug, PartialEq)]
struct AudioPin {
    id: u32,
    flow: KsPinDataFlow,
    rate: u32,
    channels: u16,
    bits: u16,
    endpoint: String,
}

/// The host's favourite rates, best first.
const RATES: [u32; 13] = [44100, 48000, 88200, 96000, 192_000, 32000, 24000, 22050, 16000, 12000, 11025, 9600, 8000];

/// The audio ranges of a list, as the host steps through it: by FormatSize, without alignment.
fn audio_ranges(list: &[u8]) -> Vec<KsDataRangeAudio> {
    let (size, count) = (word(list, 0) as usize, word(list, 4));
    assert_eq!(size, list.len());
    let mut at = 8;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (head, _) = KsDataFormat::read_from_prefix(&list[at..]).unwrap();
        if head.major_format == KSDATAFORMAT_TYPE_AUDIO && head.specifier == KSDATAFORMAT_SPECIFIER_WAVEFORMATEX {
            assert_eq!(head.format_size, 88, "an audio range keeps the next one aligned");
            ranges.push(KsDataRangeAudio::read_from_prefix(&list[at..]).unwrap().0);
        }
        at += head.format_size as usize;
    }
    ranges
}

impl Client {
    /// Follows the connections from one pin of the filter to the pin at the other end; forwards or backwards.
    fn connected_pin(&self, connections: &[KsTopologyConnection], start: u32, forwards: bool) -> Option<u32> {
        let mut node = None;
        for _ in 0..=connections.len() {
            let next = connections.iter().find(|one| {
                let (from, from_pin) =
                    if forwards { (one.from_node, one.from_node_pin) } else { (one.to_node, one.to_node_pin) };
                match node {
                    None => from == KSFILTER_NODE && from_pin == start,
                    Some(node) => from == node,
                }
            })?;
            let (to, to_pin) =
                if forwards { (next.to_node, next.to_node_pin) } else { (next.from_node, next.from_node_pin) };
            if to == KSFILTER_NODE {
                return Some(to_pin);
            }
            node = Some(to);
        }
        None
    }

    /// All that the host reads of a filter. The pins that it can use come back.
    fn audio_filter(&self, filter: Handle) -> Vec<AudioPin> {
        let count: u32 = self.fixed(filter, &property(KSPROPSETID_Pin, KSPROPERTY_PIN_CTYPES)).unwrap();
        let list = self.sized(filter, &property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_CONNECTIONS)).unwrap();
        let connections: Vec<KsTopologyConnection> =
            list[8..].chunks_exact(16).map(|one| KsTopologyConnection::read_from_bytes(one).unwrap()).collect();
        assert_eq!(connections.len(), word(&list, 4) as usize);
        let nodes = self.sized(filter, &property(KSPROPSETID_Topology, KSPROPERTY_TOPOLOGY_NODES)).unwrap();
        assert_eq!(nodes.len(), 8 + 16 * word(&nodes, 4) as usize);
        let _optional = self.fixed::<KsComponentId>(filter, &property(KSPROPSETID_General, 0));
        (0..count).filter_map(|id| self.audio_pin(filter, id, &connections)).collect()
    }

    fn audio_pin(&self, filter: Handle, id: u32, connections: &[KsTopologyConnection]) -> Option<AudioPin> {
        let communication: KsPinCommunication = self.fixed(filter, &of_pin(KSPROPERTY_PIN_COMMUNICATION, id)).unwrap();
        if communication != KsPinCommunication::SINK && communication != KsPinCommunication::BOTH {
            return None;
        }
        let flow: KsPinDataFlow = self.fixed(filter, &of_pin(KSPROPERTY_PIN_DATAFLOW, id)).unwrap();
        let identities = |item| {
            let list = self.sized(filter, &of_pin(item, id)).unwrap();
            list[8..].chunks_exact(24).map(|one| KsIdentifier::read_from_bytes(one).unwrap()).collect::<Vec<_>>()
        };
        let interfaces = identities(KSPROPERTY_PIN_INTERFACES);
        let has = |id| interfaces.iter().any(|one| one.set == KSINTERFACESETID_Standard && one.id == id);
        assert!(has(KSINTERFACE_STANDARD_STREAMING), "the cyclic path");
        let mediums = identities(KSPROPERTY_PIN_MEDIUMS);
        assert!(mediums.iter().any(|one| one.set == KSMEDIUMSETID_Standard && one.id == 0));
        let ranges = audio_ranges(&self.sized(filter, &of_pin(KSPROPERTY_PIN_DATARANGES, id)).unwrap());
        let best = ranges.first()?;
        let instances: KsPinCInstances = self.fixed(filter, &of_pin(KSPROPERTY_PIN_CINSTANCES, id)).unwrap();
        assert!(instances.current_count < instances.possible_count);
        let rate = *RATES.iter().find(|rate| {
            ranges.iter().any(|one| (one.minimum_sample_frequency..=one.maximum_sample_frequency).contains(rate))
        })?;
        let bridge = self.connected_pin(connections, id, flow == KsPinDataFlow::IN)?;
        // No wire to another filter: the name of the bridge pin, in a buffer of 260 bytes, then its category.
        let physical = of_pin(KSPROPERTY_PIN_PHYSICALCONNECTION, bridge);
        assert!(self.sized(filter, &physical).is_err());
        let (outcome, name) = self.ask(filter, &of_pin(KSPROPERTY_PIN_NAME, bridge), 260);
        assert!(outcome.status.is_success());
        let _category: Guid = self.fixed(filter, &of_pin(KSPROPERTY_PIN_CATEGORY, bridge)).unwrap();
        let units: Vec<u16> = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let end = units.iter().position(|unit| *unit == 0).unwrap();
        let channels = best.maximum_channels.min(2) as u16;
        let bits = if best.minimum_bits_per_sample <= 16 { 16 } else { best.minimum_bits_per_sample as u16 };
        Some(AudioPin { id, flow, rate, channels, bits, endpoint: String::from_utf16(&units[..end]).unwrap() })
    }

    /// What the host finds: streaming pins of interfaces of KSCATEGORY_AUDIO that capture or render.
    fn audio_devices(&self) -> Vec<(InterfaceInfo, AudioPin)> {
        let mut devices = Vec::new();
        for interface in self.session.interfaces(Some(KSCATEGORY_AUDIO)) {
            let (renders, captures) =
                (self.alias(&interface, KSCATEGORY_RENDER), self.alias(&interface, KSCATEGORY_CAPTURE));
            if !renders && !captures {
                continue;
            }
            assert!(!self.alias(&interface, KSCATEGORY_REALTIME), "no buffer of these is looped");
            assert!(!interface.friendly_name.is_empty());
            let filter = self.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
            devices.extend(self.audio_filter(filter).into_iter().map(|pin| (interface.clone(), pin)));
            assert!(self.session.close(filter).status.is_success());
        }
        devices
    }

    /// Opens, streams so many packets by the cyclic path, and closes. Gives the bytes that went each way.
    fn audio_stream(&self, interface: &InterfaceInfo, pin: &AudioPin, packets: usize) -> u64 {
        let filter = self.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
        let block = pin.channels * (pin.bits / 8);
        let head = KsDataFormat {
            format_size: 104,
            sample_size: u32::from(block),
            ..KsDataFormat::new(
                KSDATAFORMAT_TYPE_AUDIO,
                KSDATAFORMAT_SUBTYPE_PCM,
                KSDATAFORMAT_SPECIFIER_WAVEFORMATEX,
                0,
            )
        };
        let mut format = head.as_bytes().to_vec();
        format.extend(0xFFFE_u16.to_le_bytes());
        format.extend(pin.channels.to_le_bytes());
        format.extend(pin.rate.to_le_bytes());
        format.extend((pin.rate * u32::from(block)).to_le_bytes());
        format.extend(block.to_le_bytes());
        format.extend(pin.bits.to_le_bytes());
        format.extend(22_u16.to_le_bytes());
        format.extend(pin.bits.to_le_bytes());
        format.extend(((1_u32 << pin.channels) - 1).to_le_bytes());
        format.extend(KSDATAFORMAT_SUBTYPE_PCM.as_bytes());
        assert_eq!(format.len(), 104);
        format[..4].copy_from_slice(&104_u32.to_le_bytes());
        let stream = self.create_pin(filter, pin.id, &format, READ_WRITE).unwrap();
        // 24 bytes, and where there are none the 112 of the extended form.
        let framing = self.fixed::<KsAllocatorFraming>(stream, &property(KSPROPSETID_Connection, 3)).unwrap();
        assert!(framing.frame_size > 0);
        let extended: KsAllocatorFramingEx = self.fixed(stream, &property(KSPROPSETID_Connection, 6)).unwrap();
        assert_eq!((extended.as_bytes().len(), extended.count_items), (112, 1));
        let bytes = framing.frame_size as usize;
        let code = if pin.flow == KsPinDataFlow::OUT { READ_STREAM } else { WRITE_STREAM };
        let frames: Vec<Frame> = (0..2).map(|_| self.session.allocate(bytes, 64).unwrap()).collect();
        for state in [KsState::ACQUIRE, KsState::PAUSE] {
            self.set_state(stream, state);
        }
        // Two packets wait before RUN.
        let mut waiting: std::collections::VecDeque<_> =
            frames.iter().map(|frame| (frame, self.submit(stream, code, frame, bytes, 56, 0))).collect();
        self.set_state(stream, KsState::RUN);
        let mut passed = 0;
        for _ in 0..packets {
            let (frame, request) = waiting.pop_front().unwrap();
            let used = used(&request.wait());
            assert!(used > 0, "no data counts as an error");
            passed += u64::from(used);
            waiting.push_back((frame, self.submit(stream, code, frame, bytes, 56, 0)));
        }
        self.set_state(stream, KsState::PAUSE);
        self.set_state(stream, KsState::STOP);
        for (_, request) in waiting {
            // What was under way ends; how is no matter to the host.
            let _ = request.wait();
        }
        // And again, on a pin that is stopped.
        self.set_state(stream, KsState::PAUSE);
        self.set_state(stream, KsState::STOP);
        assert!(self.session.close(stream).status.is_success());
        assert!(self.session.close(filter).status.is_success());
        passed
    }
}

#[test]
fn an_audio_host_finds_opens_and_streams_a_microphone_and_a_speaker() {
    let client = client();
    let devices = client.audio_devices();
    let found: Vec<_> = devices.iter().map(|(interface, pin)| (interface.reference.as_str(), pin.flow)).collect();
    assert_eq!(found, [("test-microphone", KsPinDataFlow::OUT), ("test-speaker", KsPinDataFlow::IN)]);
    for (interface, pin) in &devices {
        assert_eq!(pin.endpoint, interface.friendly_name);
        assert_eq!((pin.channels, pin.bits), (2, 16));
        let begun = client.session.services().now();
        let bytes = client.audio_stream(interface, pin, 100);
        let elapsed = client.session.services().now().since(begun);
        // A hundred packets of ten milliseconds, by the clock of the device.
        assert_eq!(bytes, u64::from(pin.rate) * 4, "{}", interface.reference);
        assert!((0.98..1.1).contains(&elapsed.as_secs_f64()), "{}: {elapsed:?}", interface.reference);
    }
    let rates: Vec<u32> = devices.iter().map(|(_, pin)| pin.rate).collect();
    assert_eq!(rates, [48000, 44100], "the first rate of the host's list that the device has");
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn several_hosts_enumerate_at_once_and_disturb_nobody() {
    let client = client();
    let (interface, pin) = client.audio_devices().into_iter().next().unwrap();
    let before = client.session.open_handles();
    // While one streams, another looks at everything.
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let other =
        Client { session: client._system.session(), _system: ks_filters::system(Services::virtual_time(3)).unwrap() };
    assert_eq!(other.audio_devices().len(), 2);
    assert_eq!(client.audio_filter(filter), [pin]);
    let _ = client.session.close(filter);
    assert_eq!((client.session.open_handles(), other.session.open_handles()), (before, 0));
}

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
    let stream = client.create_pin(filter, video.id, &format, AccessMask::GENERIC_READ).unwrap();
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
