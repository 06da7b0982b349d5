//! Packets of a cyclic buffer, as newer clients count, write and read them.

use crate::client::*;
use crate::looped_devices::*;
use crate::looped_host::*;
use ks_abi::*;
use ks_io::{Ticks, Transport};
use zerocopy::IntoBytes;

const PACKET: Ticks = Ticks::from_millis(10);

impl Looped<'_> {
    fn packet_count(&self) -> u32 {
        let request = rt_audio(KSPROPERTY_RTAUDIO_PACKETCOUNT, KSPROPERTY_TYPE_GET);
        self.client.fixed(self.pin, request.as_bytes()).unwrap()
    }

    fn write_packet(&self, packet_number: u32, flags: u32, eos_packet_length: u32) -> NtStatus {
        let request = rt_audio(KSPROPERTY_RTAUDIO_SETWRITEPACKET, KSPROPERTY_TYPE_SET);
        let mut packet = KsRtAudioSetWritePacketInfo { packet_number, flags, eos_packet_length };
        let code = IoControlCode(0x002F_0003);
        self.client.session.device_io_control(self.pin, code, request.as_bytes(), packet.as_mut_bytes()).status
    }

    fn read_packet(&self) -> Result<KsRtAudioGetReadPacketInfo, Win32Error> {
        self.client.fixed(self.pin, rt_audio(KSPROPERTY_RTAUDIO_GETREADPACKET, KSPROPERTY_TYPE_GET).as_bytes())
    }
}

#[test]
fn packets_are_counted_written_and_refused_where_they_are_late() {
    let client = client();
    let path = scratch_file("packets.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    client.set(filter, 1, path.to_str().unwrap());
    let looped = client.open_looped(filter, &pin, 2 * 441 * 4);
    let request = register_request(KSPROPERTY_RTAUDIO_PACKETVREGISTER, KSPROPERTY_TYPE_GET, 0);
    let registers: KsRtAudioPacketVRegister = client.fixed(looped.pin, &request).unwrap();
    // Before it starts the buffer has room for packets 0 and 1.
    assert_eq!(looped.packet_count(), 0);
    assert_eq!(looped.write_packet(2, 0, 0), STATUS_DATA_OVERRUN);
    for packet in 0..2 {
        looped.memory.write(looped.half(packet).0, &counting(441 * packet, 441));
        assert_eq!(looped.write_packet(packet, 0, 0), STATUS_SUCCESS);
    }
    assert_eq!(looped.write_packet(0, 1, 0), STATUS_INVALID_PARAMETER, "a flag that it does not know");
    looped.run();
    let begun = client.session.services().now();
    for packet in 2..5 {
        looped.wait_for_packet();
        assert_eq!(looped.packet_count(), packet - 1);
        let expected = [u64::from(packet - 1), (begun + PACKET * i64::from(packet - 1)).0 as u64];
        let shown =
            [registers.completed_packet_count, registers.completed_packet_qpc].map(|one| looped.memory.number(one.0));
        assert_eq!(shown, expected);
        let low = u64::from(u32::MAX);
        let hash = (expected[1] & low) << 32 | expected[0] & low;
        assert_eq!(looped.memory.number(registers.completed_packet_hash.0), hash);
        let presented = rt_audio(KSPROPERTY_RTAUDIO_PRESENTATION_POSITION, KSPROPERTY_TYPE_GET);
        let presented: KsAudioPresentationPosition = client.fixed(looped.pin, presented.as_bytes()).unwrap();
        assert_eq!((presented.position_in_blocks, presented.qpc_position), (441 * expected[0], expected[1]));
        looped.memory.write(looped.half(packet).0, &counting(441 * packet, 441));
        assert_eq!(looped.write_packet(packet - 1, 0, 0), STATUS_DATA_LATE_ERROR, "it is being played");
        assert_eq!(looped.write_packet(packet + 1, 0, 0), STATUS_DATA_OVERRUN, "its place is being played");
        assert_eq!(looped.write_packet(packet, 0, 0), STATUS_SUCCESS);
    }
    // The last packet ends within itself. The device goes on counting, and plays nothing more.
    looped.wait_for_packet();
    let eos = KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM;
    looped.memory.write(looped.half(5).0, &counting(441 * 5, 441));
    assert_eq!(looped.write_packet(5, eos, 441 * 4 + 4), STATUS_INVALID_PARAMETER, "longer than a packet");
    assert_eq!(looped.write_packet(5, eos, 402), STATUS_INVALID_PARAMETER, "no whole blocks");
    assert_eq!(looped.write_packet(5, eos, 400), STATUS_SUCCESS);
    assert_eq!(looped.write_packet(6, 0, 0), STATUS_INVALID_DEVICE_STATE, "behind the end");
    for packet in 5..8 {
        looped.wait_for_packet();
        assert_eq!(looped.packet_count(), packet);
    }
    looped.stop();
    assert_eq!(looped.packet_count(), 0);
    looped.close();
    same(&wav_samples(&path), &counting(0, 441 * 5 + 100));
}

#[test]
fn captured_packets_come_in_order_and_the_oldest_are_lost_first() {
    let client = client();
    let (interface, pin) = client.device("looped-microphone", "Looped microphone");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let looped = client.open_looped(filter, &pin, 2 * 441 * 4);
    let none = Err(Win32Error::ERROR_NOT_READY);
    assert_eq!(looped.read_packet(), none);
    looped.run();
    let begun = client.session.services().now();
    for number in 0..20 {
        looped.wait_for_packet();
        let packet = looped.read_packet().unwrap();
        assert_eq!((packet.packet_number, packet.flags, packet.more_data), (number, 0, 0));
        assert_eq!(packet.performance_counter_value, (begun + PACKET * i64::from(number)).0 as u64);
        assert_eq!(looped.read_packet(), none, "each comes once");
    }
    // Five packets pass that nobody reads; the buffer holds one whole packet beside the one that is filled.
    client.wait(PACKET * 5 + Ticks::MILLISECOND);
    assert_eq!(looped.read_packet().map(|packet| (packet.packet_number, packet.more_data)), Ok((24, 0)));
    // A pause inside of a packet moves its end, not its beginning.
    client.wait(Ticks::from_millis(3));
    client.set_state(looped.pin, KsState::PAUSE);
    client.wait(Ticks::from_millis(100));
    client.set_state(looped.pin, KsState::RUN);
    looped.wait_for_packet();
    looped.wait_for_packet();
    let packet = looped.read_packet().unwrap();
    assert_eq!(packet.packet_number, 25);
    let began = (begun + PACKET * 25).0 as u64;
    assert_eq!(packet.performance_counter_value, began);
    looped.wait_for_packet();
    let next = looped.read_packet().unwrap();
    assert_eq!(next.performance_counter_value, began + (PACKET + Ticks::from_millis(100)).0 as u64);
    looped.stop();
    assert_eq!(looped.read_packet(), none);
    let count = rt_audio(KSPROPERTY_RTAUDIO_PACKETCOUNT, KSPROPERTY_TYPE_GET);
    assert_eq!(client.status(looped.pin, count.as_bytes(), 4), STATUS_NOT_FOUND, "of render pins");
    looped.close();
}
