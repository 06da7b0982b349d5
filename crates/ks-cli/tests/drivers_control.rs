//! A driver that controls what its pins are connected to, over the border of its process.

mod driver_rig;
mod support;

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsIdentifier};
use zerocopy::IntoBytes;

use driver_rig::{Created, Rig, create, of_tests, sample};

#[test]
fn a_pin_controls_the_foreign_pin_that_it_is_connected_to() {
    const CONTROLS: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e60);
    let said = |pin: &Created, check: u32| {
        let request = KsIdentifier { set: CONTROLS, id: check, flags: KSPROPERTY_TYPE_GET };
        let mut answer = [0; 200];
        let outcome = pin.pin.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut answer);
        assert!(outcome.status.is_success(), "{}", outcome.status);
        String::from_utf8_lossy(&answer[..outcome.information]).into_owned()
    };
    let rig = Rig::new();
    let driver = of_tests("ks/control", &[]);
    let (from, to) = (rig.start(&driver), rig.start(&sample("drain")));
    let (source, sink) = (from.open(), to.open());
    let into = create(&sink, 0, None);
    let out = create(&source, 0, Some(&into));
    assert_eq!(said(&out, 3), "", "the pin of another process");
    let (counter, other) = (rig.start(&sample("counter")), from.open());
    let numbers = counter.open();
    let taking = create(&other, 1, None);
    let giving = create(&numbers, 0, Some(&taking));
    assert_eq!(said(&taking, 4), "", "a pin that takes requests");
    drop((giving, taking, out, into, numbers, other, source, sink));
    for hosted in [from, to, counter] {
        hosted.stop_in_order();
    }
}
