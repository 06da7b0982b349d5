//! The audio host with a looped speaker that is heard through a topology filter, behind a bridge pin.

use crate::client::*;
use crate::looped_devices::{counting, same, scratch_file, wav_samples};
use ks_abi::*;
use ks_io::{Handle, Ticks, Transport};
use zerocopy::IntoBytes;

/// The topology filter that the bridge pin of a wave filter is wired to.
fn behind_the_bridge(client: &Client, wave: Handle) -> Handle {
    let wire = client.sized(wave, &of_pin(KSPROPERTY_PIN_PHYSICALCONNECTION, 1)).unwrap();
    assert_eq!((word(&wire, 0) as usize, word(&wire, 4)), (wire.len(), 0), "it is wired to pin 0");
    let name: Vec<u16> = wire[8..].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let link = String::from_utf16(&name).unwrap().trim_end_matches('\0').replacen(r"\??\", r"\\?\", 1);
    client.session.open(&link, READ_WRITE).unwrap()
}

/// KSNODEPROPERTY_AUDIO_CHANNEL of the node that mutes.
fn of_channel(channel: i32, flags: u32) -> Vec<u8> {
    let property = KsProperty::new(KSPROPSETID_Audio, KSPROPERTY_AUDIO_MUTE, flags | KSPROPERTY_TYPE_TOPOLOGY);
    let node = KspNode { property, node_id: 0, reserved: 0 };
    [node.as_bytes(), &channel.to_le_bytes(), &[0; 4]].concat()
}

fn mute(client: &Client, topology: Handle, channel: i32, on: bool) -> NtStatus {
    let (code, request) = (IoControlCode(0x002F_0003), of_channel(channel, KSPROPERTY_TYPE_SET));
    client.session.device_io_control(topology, code, &request, &mut u32::from(on).to_le_bytes()).status
}

#[test]
fn a_host_plays_through_a_topology_filter_that_mutes() {
    const ALL: i32 = -1;
    const LEFT: i32 = 0;
    let client = client();
    let path = scratch_file("muted.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    assert_eq!(pin.category, KSNODETYPE_SPEAKER);
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let topology = behind_the_bridge(&client, filter);
    client.set(filter, 1, path.to_str().unwrap());
    let looped = client.open_looped(filter, &pin, 2 * 441 * 4);
    for half in 0..2 {
        looped.memory.write(looped.half(half).0, &counting(441 * half, 441));
    }
    looped.run();
    for played in 0..40 {
        looped.wait_for_packet();
        looped.memory.write(looped.half(played).0, &counting(441 * (played + 2), 441));
        let said = match played {
            9 => mute(&client, topology, LEFT, true),
            19 => mute(&client, topology, ALL, true),
            29 => mute(&client, topology, ALL, false),
            _ => continue,
        };
        assert_eq!(said, STATUS_SUCCESS);
        let is_muted = |channel| {
            let (outcome, answer) = client.ask(topology, &of_channel(channel, KSPROPERTY_TYPE_GET), 4);
            outcome.status.is_success().then(|| word(&answer, 0) == 1).ok_or(outcome.status)
        };
        let now = [LEFT, LEFT + 1, ALL].map(is_muted);
        let wanted = [played < 29, played == 19, played == 19];
        assert_eq!(now, wanted.map(Ok));
        assert_eq!(is_muted(8), Err(STATUS_INVALID_PARAMETER), "it has eight channels");
        assert_eq!(mute(&client, topology, -2, true), STATUS_INVALID_PARAMETER);
    }
    looped.stop();
    looped.close();
    let mut heard = counting(0, 40 * 441);
    for (block, bytes) in heard.chunks_exact_mut(4).enumerate() {
        match block / 441 {
            10..20 => bytes[..2].fill(0),
            20..30 => bytes.fill(0),
            _ => {}
        }
    }
    same(&wav_samples(&path), &heard);
    assert!(client.session.close(topology).status.is_success());
    assert_eq!(client.session.open_handles(), 0);
}

#[test]
fn a_polled_host_plays_through_a_topology_filter_that_mutes() {
    let client = client();
    let path = scratch_file("polled-muted.wav");
    let (interface, pin) = client.device("looped-speaker", "Looped speaker");
    let filter = client.session.open(&interface.symbolic_link, READ_WRITE).unwrap();
    let topology = behind_the_bridge(&client, filter);
    client.set(filter, 1, path.to_str().unwrap());
    client.set(filter, 2, "false");
    let looped = client.open_looped(filter, &pin, 8820);
    assert!(looped.notified.is_none());
    looped.memory.write(looped.address, &vec![3; looped.bytes as usize]);
    looped.run();
    for on in [true, false] {
        client.wait(Ticks::from_millis(100));
        assert_eq!(mute(&client, topology, -1, on), STATUS_SUCCESS);
    }
    client.wait(Ticks::from_millis(100));
    looped.stop();
    looped.close();
    let played = wav_samples(&path);
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for byte in played {
        match runs.last_mut() {
            Some((last, count)) if *last == byte => *count += 1,
            _ => runs.push((byte, 1)),
        }
    }
    let heard: Vec<u8> = runs.iter().map(|(byte, _)| *byte).collect();
    assert_eq!(heard, [3, 0, 3], "heard, muted, heard again");
    // A tenth of a second each, but for the beat of the device that the change falls into.
    assert!(runs.iter().all(|(_, bytes)| bytes.abs_diff(17_640) <= 2 * 45 * 4), "{runs:?}");
    assert!(client.session.close(topology).status.is_success());
    assert_eq!(client.session.open_handles(), 0);
}
