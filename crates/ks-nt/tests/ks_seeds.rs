//! A Windows driver in virtual time: its threads, waits, timers and clock are the scheduler's, so that a seed is an order of
//! them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod ks_rig;

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier};
use ks_client::Object;
use ks_rig::{Rig, each_seed, play};
use zerocopy::IntoBytes;

const DRIVER: &str = "tests/avs/seeds.c";
/// The checks of the drivers in `tests/avs`.
const CHECKS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
/// Two threads count without a lock, and lose a count where one runs between the other's read and write.
const COUNTS: u32 = 0;
const AN_HOUR: u32 = 1;

fn failure(object: &Object, check: u32) -> String {
    let request = KsIdentifier { set: CHECKS, id: check, flags: KSPROPERTY_TYPE_GET };
    let mut answer = [0; 200];
    let outcome = object.control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
    assert!(outcome.status.is_success(), "check {check}: {}", outcome.status);
    String::from_utf8(answer[..outcome.information].to_vec()).unwrap()
}

/// Whether the driver's race is seen in the order of a seed, in each of several rounds.
fn losses(seed: u64) -> Vec<bool> {
    let mut lost = Vec::new();
    play(seed, || {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        lost = (0..6).map(|_| !failure(pin.pin.object(), COUNTS).is_empty()).collect();
        drop((pin, filter));
        rig.unload();
    });
    lost
}

#[test]
fn a_race_of_a_drivers_threads_is_seen_in_some_orders_and_again_with_their_seeds() {
    let seeds = 0..12;
    let of_each: Vec<_> = seeds.clone().map(losses).collect();
    // In the place of all seeds one may be set.
    if std::env::var_os("KS_SEED").is_none() {
        assert!(of_each.iter().any(|lost| lost.contains(&true)), "{of_each:?}");
        assert!(of_each.iter().any(|lost| lost.contains(&false)), "{of_each:?}");
    }
    for (seed, lost) in seeds.zip(&of_each) {
        assert_eq!(losses(seed), *lost, "seed {seed} again");
    }
}

#[test]
fn an_hour_of_a_driver_passes_when_everybody_waits() {
    each_seed(|| {
        let rig = Rig::start(DRIVER);
        let filter = rig.open();
        let pin = rig.create(&filter, 0, None);
        assert_eq!(failure(pin.pin.object(), AN_HOUR), "");
        drop((pin, filter));
        rig.unload();
    });
}
