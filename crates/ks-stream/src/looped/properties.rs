//! KSPROPSETID_RtAudio and the position of KSPROPSETID_Audio, as the pins of a looped stream answer them.
//!
//! A driver puts [`automation`] into its pin's table.

use super::{
    BufferWish, CyclicBuffer, LoopedPin, LoopedStream, MOST_LOOPED_BYTES, PAGE_BYTES, Registers, packet_page,
    shared_frame,
};
use crate::automation::{AutomationTable, PropertyItem, PropertySet};
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    KSPROPERTY_AUDIO_POSITION, KSPROPERTY_RTAUDIO_BUFFER, KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
    KSPROPERTY_RTAUDIO_CLOCKREGISTER, KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION, KSPROPERTY_RTAUDIO_GETREADPACKET,
    KSPROPERTY_RTAUDIO_HWLATENCY, KSPROPERTY_RTAUDIO_PACKETCOUNT, KSPROPERTY_RTAUDIO_PACKETVREGISTER,
    KSPROPERTY_RTAUDIO_POSITIONREGISTER, KSPROPERTY_RTAUDIO_PRESENTATION_POSITION,
    KSPROPERTY_RTAUDIO_QUERY_NOTIFICATION_SUPPORT, KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT,
    KSPROPERTY_RTAUDIO_SETWRITEPACKET, KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, KSPROPSETID_Audio,
    KSPROPSETID_RtAudio, KsAudioPosition, KsAudioPresentationPosition, KsPinDataFlow, KsRtAudioBuffer,
    KsRtAudioBufferProperty, KsRtAudioBufferPropertyWithNotification, KsRtAudioGetReadPacketInfo, KsRtAudioHwLatency,
    KsRtAudioHwRegister, KsRtAudioHwRegisterProperty, KsRtAudioNotificationEventProperty, KsRtAudioPacketVRegister,
    KsRtAudioPacketVRegisterProperty, KsRtAudioSetWritePacketInfo, NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_DEVICE_STATE, STATUS_NOT_SUPPORTED, STATUS_UNSUCCESSFUL,
};
use ks_io::sync::Arc;
use ks_io::{Aspect, Refusal, RequestorMode};
use ks_mem::Frame;

// ks-coverage: KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION refused it has no page, and its value is the address of a kernel routine (decision 0075)
// ks-coverage: KSPROPERTY_RTAUDIO_BUFFER done test=a_polled_host_reads_a_position_that_begins_at_zero,a_device_without_notification_and_with_odd_sizes_drives_the_host_through_its_fallbacks
// ks-coverage: KSPROPERTY_RTAUDIO_HWLATENCY done test=a_host_plays_into_a_looped_speaker_by_notifications
// ks-coverage: KSPROPERTY_RTAUDIO_POSITIONREGISTER done test=registers_are_mapped_once_and_follow_the_device
// ks-coverage: KSPROPERTY_RTAUDIO_CLOCKREGISTER done test=registers_are_mapped_once_and_follow_the_device
// ks-coverage: KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION done test=a_host_plays_into_a_looped_speaker_by_notifications
// ks-coverage: KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT done test=a_host_plays_into_a_looped_speaker_by_notifications,functions_registers_and_odd_requests_are_refused
// ks-coverage: KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT done test=functions_registers_and_odd_requests_are_refused
// ks-coverage: KSPROPERTY_RTAUDIO_QUERY_NOTIFICATION_SUPPORT done test=a_device_without_notification_and_with_odd_sizes_drives_the_host_through_its_fallbacks
// ks-coverage: KSPROPERTY_RTAUDIO_PACKETCOUNT done test=packets_are_counted_written_and_refused_where_they_are_late
// ks-coverage: KSPROPERTY_RTAUDIO_PRESENTATION_POSITION done test=packets_are_counted_written_and_refused_where_they_are_late
// ks-coverage: KSPROPERTY_RTAUDIO_GETREADPACKET done test=captured_packets_come_in_order_and_the_oldest_are_lost_first
// ks-coverage: KSPROPERTY_RTAUDIO_SETWRITEPACKET done test=packets_are_counted_written_and_refused_where_they_are_late
// ks-coverage: KSPROPERTY_RTAUDIO_PACKETVREGISTER done test=packets_are_counted_written_and_refused_where_they_are_late
// ks-coverage: KSPROPERTY_AUDIO_POSITION done test=a_polled_host_reads_a_position_that_begins_at_zero

/// What both halves of a looped pin are.
#[derive(Clone)]
struct Halves {
    pin: Arc<LoopedPin>,
    stream: Arc<dyn LoopedStream>,
}

type Handler = fn(&Halves, &Pin, &mut PropertyCall<'_>) -> NtStatus;

/// The property sets of a looped pin.
pub fn automation(flow: KsPinDataFlow, pin: &Arc<LoopedPin>, stream: &Arc<dyn LoopedStream>) -> AutomationTable<Pin> {
    let halves = Halves { pin: pin.clone(), stream: stream.clone() };
    let with = |handler: Handler| {
        let halves = halves.clone();
        move |pin: &Pin, call: &mut PropertyCall<'_>| handler(&halves, pin, call)
    };
    let item =
        |id, request_bytes, data_bytes| PropertyItem::new(id).request_bytes(request_bytes).data_bytes(data_bytes);
    let register = size_of::<KsRtAudioHwRegisterProperty>();
    let event = size_of::<KsRtAudioNotificationEventProperty>();
    // An event is registered by GET and by SET, as the tables of both pages have it.
    let mut items = vec![
        item(KSPROPERTY_RTAUDIO_GETPOSITIONFUNCTION, 0, 0).get(with(position_function)),
        item(KSPROPERTY_RTAUDIO_BUFFER, size_of::<KsRtAudioBufferProperty>(), size_of::<KsRtAudioBuffer>())
            .get(with(buffer)),
        item(
            KSPROPERTY_RTAUDIO_BUFFER_WITH_NOTIFICATION,
            size_of::<KsRtAudioBufferPropertyWithNotification>(),
            size_of::<KsRtAudioBuffer>(),
        )
        .get(with(buffer_with_notification)),
        item(KSPROPERTY_RTAUDIO_HWLATENCY, 0, size_of::<KsRtAudioHwLatency>()).get(with(latency)),
        item(KSPROPERTY_RTAUDIO_POSITIONREGISTER, register, size_of::<KsRtAudioHwRegister>())
            .get(with(position_register)),
        item(KSPROPERTY_RTAUDIO_CLOCKREGISTER, register, size_of::<KsRtAudioHwRegister>()).get(with(clock_register)),
        item(KSPROPERTY_RTAUDIO_REGISTER_NOTIFICATION_EVENT, event, 0)
            .get(with(register_event))
            .set(with(register_event)),
        item(KSPROPERTY_RTAUDIO_UNREGISTER_NOTIFICATION_EVENT, event, 0)
            .get(with(unregister_event))
            .set(with(unregister_event)),
        item(KSPROPERTY_RTAUDIO_QUERY_NOTIFICATION_SUPPORT, 0, 4).get(with(query_support)),
        item(
            KSPROPERTY_RTAUDIO_PACKETVREGISTER,
            size_of::<KsRtAudioPacketVRegisterProperty>(),
            size_of::<KsRtAudioPacketVRegister>(),
        )
        .get(with(packet_registers)),
    ];
    if flow == KsPinDataFlow::IN {
        items.push(item(KSPROPERTY_RTAUDIO_PACKETCOUNT, 0, 4).get(with(packet_count)));
        items.push(
            item(KSPROPERTY_RTAUDIO_PRESENTATION_POSITION, 0, size_of::<KsAudioPresentationPosition>())
                .get(with(presentation_position)),
        );
        items.push(
            item(KSPROPERTY_RTAUDIO_SETWRITEPACKET, 0, size_of::<KsRtAudioSetWritePacketInfo>())
                .set(with(set_write_packet)),
        );
    } else {
        items.push(
            item(KSPROPERTY_RTAUDIO_GETREADPACKET, 0, size_of::<KsRtAudioGetReadPacketInfo>()).get(with(read_packet)),
        );
    }
    let position = item(KSPROPERTY_AUDIO_POSITION, 0, size_of::<KsAudioPosition>()).get(with(audio_position));
    AutomationTable::of_properties(vec![
        PropertySet { set: KSPROPSETID_RtAudio, items },
        PropertySet { set: KSPROPSETID_Audio, items: vec![position] },
    ])
}

fn refuse(call: &mut PropertyCall<'_>, status: NtStatus, reason: String) -> NtStatus {
    call.refuse(Refusal::new(status, Aspect::Request, reason))
}

fn buffer(halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match call.request_as::<KsRtAudioBufferProperty>() {
        Ok(asked) => make_buffer(halves, pin, call, asked.base_address, asked.requested_buffer_size, None),
        Err(status) => status,
    }
}

fn buffer_with_notification(halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let asked = match call.request_as::<KsRtAudioBufferPropertyWithNotification>() {
        Ok(asked) => asked,
        Err(status) => return status,
    };
    let count = asked.notification_count;
    if !(1..=2).contains(&count) {
        let reason = format!("{}: {count} notifications a cycle; there are 1 or 2", pin.describe());
        return refuse(call, STATUS_UNSUCCESSFUL, reason);
    }
    make_buffer(halves, pin, call, asked.base_address, asked.requested_buffer_size, Some(count))
}

fn make_buffer(
    halves: &Halves,
    pin: &Pin,
    call: &mut PropertyCall<'_>,
    base: Ptr64,
    bytes: u32,
    notifications: Option<u32>,
) -> NtStatus {
    let name = pin.describe();
    if !base.is_null() || bytes == 0 {
        let reason =
            format!("{name}: a buffer of {bytes} bytes at {:#x}; its size is above 0 and its place free", base.0);
        return refuse(call, STATUS_UNSUCCESSFUL, reason);
    }
    let refuse_size = |call: &mut PropertyCall<'_>, bytes: u32| {
        let reason = format!("{name}: a buffer of {bytes} bytes; at most {MOST_LOOPED_BYTES}");
        refuse(call, STATUS_INSUFFICIENT_RESOURCES, reason)
    };
    if bytes > MOST_LOOPED_BYTES {
        return refuse_size(call, bytes);
    }
    let actual = match halves.stream.buffer_bytes(BufferWish { bytes, notifications }) {
        Ok(actual) if actual > MOST_LOOPED_BYTES => return refuse_size(call, actual),
        Ok(actual) => actual.max(bytes),
        Err(refusal) => return call.refuse(refusal),
    };
    if pin.is_gone() {
        return ks_abi::STATUS_DEVICE_REMOVED;
    }
    let client = call.origin().client();
    let made = halves.pin.make_buffer(|| CyclicBuffer::new(pin.io().regions(), client, actual, notifications));
    let buffer = match made {
        Ok(buffer) => buffer,
        Err(STATUS_INVALID_DEVICE_STATE) => {
            return refuse(call, STATUS_INVALID_DEVICE_STATE, format!("{name} has its cyclic buffer already"));
        }
        Err(status) => return status,
    };
    halves.stream.buffer_made(&buffer);
    call.answer_value(&KsRtAudioBuffer {
        buffer_address: Ptr64(buffer.frame().address()),
        actual_buffer_size: actual,
        call_memory_barrier: 0,
    })
}

fn latency(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    call.answer_value(&halves.stream.latency())
}

fn query_support(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    call.answer_value(&u32::from(halves.stream.notifies()))
}

fn audio_position(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    call.answer_value(&halves.stream.position())
}

/// Maps a page of registers, once in the life of a pin.
fn map(
    halves: &Halves,
    pin: &Pin,
    call: &mut PropertyCall<'_>,
    base: Ptr64,
    place: fn(&mut Registers) -> &mut Option<Frame>,
) -> Result<u64, NtStatus> {
    if !base.is_null() {
        let reason = format!("{}: a register at {:#x}; its place must be free", pin.describe(), base.0);
        return Err(refuse(call, STATUS_UNSUCCESSFUL, reason));
    }
    let refuse_again = |call: &mut PropertyCall<'_>| {
        let reason = format!("{} has mapped this register already", pin.describe());
        Err(refuse(call, STATUS_INVALID_DEVICE_STATE, reason))
    };
    if place(&mut halves.pin.registers.lock()).is_some() {
        return refuse_again(call);
    }
    let client = call.origin().client();
    let page = shared_frame(pin.io().regions(), client, "ks-looped-register", PAGE_BYTES);
    let page = page.ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    let address = page.address();
    let mut registers = halves.pin.registers.lock();
    let free = place(&mut registers);
    if free.is_some() {
        drop(registers);
        return refuse_again(call);
    }
    *free = Some(page);
    Ok(address)
}

fn no_register(pin: &Pin, call: &mut PropertyCall<'_>, what: &str) -> NtStatus {
    refuse(call, STATUS_NOT_SUPPORTED, format!("{} has no {what} register", pin.describe()))
}

fn register_base(call: &PropertyCall<'_>) -> Result<Ptr64, NtStatus> {
    call.request_as::<KsRtAudioHwRegisterProperty>().map(|asked| asked.base_address)
}

fn position_register(halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let Some(accuracy) = halves.stream.position_register() else { return no_register(pin, call, "position") };
    match register_base(call).and_then(|base| map(halves, pin, call, base, |registers| &mut registers.position)) {
        Ok(address) => {
            halves.pin.show_position(halves.stream.position().play_offset);
            let (register, width) = (Ptr64(address), 64);
            call.answer_value(&KsRtAudioHwRegister { register, width, accuracy, ..Default::default() })
        }
        Err(status) => status,
    }
}

fn clock_register(halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let Some(clock) = halves.stream.clock_register() else { return no_register(pin, call, "clock") };
    match register_base(call).and_then(|base| map(halves, pin, call, base, |registers| &mut registers.clock)) {
        Ok(address) => {
            // The driver sees now that it is read, and begins to show it.
            let _ = halves.stream.position();
            call.answer_value(&KsRtAudioHwRegister {
                register: Ptr64(address),
                width: 64,
                numerator: clock.numerator,
                denominator: clock.denominator,
                accuracy: clock.accuracy,
                ..Default::default()
            })
        }
        Err(status) => status,
    }
}

fn packet_registers(halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    if halves.pin.buffer().is_none_or(|buffer| buffer.notifications().is_none()) {
        let reason = format!("{} has no buffer with notification, and so no packets", pin.describe());
        return refuse(call, STATUS_NOT_SUPPORTED, reason);
    }
    let base = match call.request_as::<KsRtAudioPacketVRegisterProperty>() {
        Ok(asked) => asked.base_address,
        Err(status) => return status,
    };
    match map(halves, pin, call, base, |registers| &mut registers.packets) {
        Ok(address) => call.answer_value(&KsRtAudioPacketVRegister {
            completed_packet_count: Ptr64(address + packet_page::COUNT as u64),
            completed_packet_qpc: Ptr64(address + packet_page::TIME as u64),
            completed_packet_hash: Ptr64(address + packet_page::HASH as u64),
        }),
        Err(status) => status,
    }
}

fn event_of(call: &PropertyCall<'_>) -> Result<u64, NtStatus> {
    call.request_as::<KsRtAudioNotificationEventProperty>().map(|asked| asked.notification_event)
}

fn register_event(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match event_of(call) {
        Ok(handle) => {
            let event = call.file_object().and_then(|file| file.event_by_handle(handle));
            halves.pin.register(handle, event)
        }
        Err(status) => status,
    }
}

fn unregister_event(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    event_of(call).map_or_else(|status| status, |handle| halves.pin.unregister(handle))
}

/// No page describes it; its value is the address of a routine of the kernel.
fn position_function(_halves: &Halves, pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match call.origin().mode() {
        RequestorMode::User => STATUS_INVALID_DEVICE_REQUEST,
        RequestorMode::Kernel => {
            let reason = format!("{} has no routine that another driver could call", pin.describe());
            refuse(call, STATUS_NOT_SUPPORTED, reason)
        }
    }
}

fn packet_count(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    halves.stream.packet_count().map_or_else(|status| status, |count| call.answer_value(&count))
}

fn presentation_position(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    halves.stream.presentation_position().map_or_else(|status| status, |position| call.answer_value(&position))
}

fn set_write_packet(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    match call.data_as::<KsRtAudioSetWritePacketInfo>() {
        Ok(packet) => halves.stream.write_packet(&packet),
        Err(status) => status,
    }
}

fn read_packet(halves: &Halves, _pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    halves.stream.read_packet().map_or_else(|status| status, |packet| call.answer_value(&packet))
}
