//! The size of a section's frames: the least that suits every pin.
//!
//! A filter that works in place and says how much larger or smaller its frames become (KS_COMPRESSION at its output) gets
//! room for both. One that insists on its ratio (KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO) divides the section into two
//! *zones*, each with a size that its own pins take and step by, and the one exactly as many times that of the other. There
//! is one buffer, which holds the larger.
//!
//! Source: ns-ks-ks_compression, ns-ks-ks_framing_range; of the flag there is a name only, see ADR 0110.

use super::framing::{Agreed, Wish, refuse};
use ks_abi::{KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO, KsCompression};
use ks_io::Refusal;

/// How many sizes are tried where pins count in steps that do not fit together.
const MOST_TRIES: u32 = 4096;

impl Wish {
    /// Does the pin insist on the ratio between the frames that come to its filter and those that leave by it?
    pub(super) fn insists(&self) -> bool {
        let KsCompression { ratio_numerator: over, ratio_denominator: under, .. } = self.compression;
        self.is(KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO) && !self.prefers() && over != 0 && under != 0
    }

    /// What becomes of frames of so many bytes, if that is a whole number.
    pub(super) fn exactly(&self, bytes: u64) -> Option<u64> {
        let ratio = self.compression;
        let scaled = u128::from(bytes) * u128::from(ratio.ratio_numerator);
        let under = u128::from(ratio.ratio_denominator);
        let whole = under != 0 && scaled.is_multiple_of(under);
        let size = whole.then(|| u64::try_from(scaled / under).ok()).flatten()?;
        size.checked_add(ratio.ratio_constant_margin.into())
    }

    /// The least number of bytes of which the ratio makes a whole number that is `bytes` or more.
    pub(super) fn before(&self, bytes: u64) -> u64 {
        let ratio = self.compression;
        let (over, under) = (u64::from(ratio.ratio_numerator.max(1)), u64::from(ratio.ratio_denominator.max(1)));
        let least = u128::from(bytes.saturating_sub(ratio.ratio_constant_margin.into())) * u128::from(under);
        let least = u64::try_from(least.div_ceil(over.into())).unwrap_or(u64::MAX);
        // What the ratio makes a whole number of comes in steps.
        least.checked_next_multiple_of(under / greatest_common_divisor(over, under)).unwrap_or(u64::MAX)
    }
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Pins that see frames of one size.
struct Zone<'a> {
    /// The zone before it, and the pin that insists on the ratio between the two; `None`: the first.
    behind: Option<(usize, &'a Wish)>,
    pins: Vec<usize>,
    bytes: u64,
    /// Who asks for that many.
    by: String,
}

impl Zone<'_> {
    /// The next size from this zone's on that is on a step of all of its pins.
    fn on_a_step(&self, wishes: &[Wish]) -> u64 {
        let strict = self.pins.iter().filter_map(|pin| wishes.get(*pin)).filter(|wish| !wish.prefers());
        strict.fold(self.bytes, |bytes, wish| wish.on_a_step(bytes))
    }
}

/// Agrees on the size of the frames, and notes who decided it.
pub(super) fn agree(wishes: &[Wish], agreed: &mut Agreed) -> Result<(), Refusal> {
    let (mut zones, zone_of) = zones(wishes);
    for tries in 0.. {
        if settle(&mut zones, wishes) {
            break;
        }
        if tries >= MOST_TRIES || zones.iter().any(|zone| zone.bytes > u64::from(u32::MAX)) {
            return refuse(no_size(wishes));
        }
    }
    let mut arriving: Vec<u64> = Vec::with_capacity(wishes.len());
    for (wish, zone_index) in wishes.iter().zip(&zone_of) {
        let Some(zone) = zones.get(*zone_index) else { continue };
        let before = wish.after.filter(|_| !zone_begins_with(zone, wish)).and_then(|after| arriving.get(after));
        // One buffer on both sides of each filter: what grows on the way must fit, and was counted above.
        let arrives = before.map_or(zone.bytes, |before| wish.compressed(*before)).min(zone.bytes);
        arriving.push(arrives);
        let (who, bytes) = (&zone.by, zone.bytes);
        let reason = match &wish.exact {
            Some((exact, why)) if *exact != bytes => {
                format!("{} takes frames of {exact} bytes only, as {why}; {who} asks for {bytes}", wish.name)
            }
            _ if arrives <= u64::from(wish.most()) => continue,
            _ => {
                format!("{who} asks for frames of at least {bytes} bytes, {} takes at most {}", wish.name, wish.most())
            }
        };
        if !wish.prefers() {
            return refuse(reason);
        }
        agreed.notes.push(reason);
    }
    let largest = zones.into_iter().reduce(|largest, zone| if zone.bytes > largest.bytes { zone } else { largest });
    let (bytes, who) = largest.map_or((0, String::new()), |zone| (zone.bytes, zone.by));
    let Ok(bytes) = u32::try_from(bytes) else { return refuse(format!("{who} asks for frames of {bytes} bytes")) };
    agreed.framing.frame_bytes = bytes;
    agreed.bytes_by = who;
    Ok(())
}

fn zone_begins_with(zone: &Zone<'_>, wish: &Wish) -> bool {
    zone.behind.is_some_and(|(_, insists)| std::ptr::eq(insists, wish))
}

/// The zones, each behind the one that it depends on, with the least size that its own pins ask for; and the zone of each
/// wish.
fn zones(wishes: &[Wish]) -> (Vec<Zone<'_>>, Vec<usize>) {
    let first = Zone { behind: None, pins: Vec::new(), bytes: 0, by: String::new() };
    let (mut zones, mut zone_of) = (vec![first], Vec::with_capacity(wishes.len()));
    // What reaches each pin at least, and whose wish that is.
    let mut carried: Vec<(u64, usize)> = Vec::with_capacity(wishes.len());
    for (index, wish) in wishes.iter().enumerate() {
        let before = wish.after.and_then(|after| Some((*zone_of.get(after)?, *carried.get(after)?)));
        let own = (u64::from(wish.least()).max(wish.exact.as_ref().map_or(0, |(bytes, _)| *bytes)), index);
        let (zone, most) = match before {
            Some((behind, _)) if wish.insists() => {
                zones.push(Zone { behind: Some((behind, wish)), pins: Vec::new(), bytes: 0, by: String::new() });
                (zones.len() - 1, own)
            }
            Some((zone, (bytes, who))) => {
                (zone, Some((wish.compressed(bytes), who)).filter(|before| before.0 > own.0).unwrap_or(own))
            }
            None => (0, own),
        };
        carried.push(most);
        zone_of.push(zone);
        if let Some(zone) = zones.get_mut(zone) {
            zone.pins.push(index);
            if most.0 > zone.bytes {
                zone.bytes = most.0;
                zone.by = wishes.get(most.1).map_or_else(String::new, |wish| wish.name.clone());
            }
        }
    }
    (zones, zone_of)
}

/// Moves the sizes of all zones up, as far as steps and ratios ask for it; true when nothing is left to move.
fn settle(zones: &mut [Zone<'_>], wishes: &[Wish]) -> bool {
    let mut settled = true;
    // What a zone needs, the zone before it must give.
    for at in (0..zones.len()).rev() {
        let Some(zone) = zones.get_mut(at) else { continue };
        let bytes = zone.on_a_step(wishes);
        settled &= bytes == zone.bytes;
        zone.bytes = bytes;
        let Some((behind, insists)) = zone.behind else { continue };
        let by = zone.by.clone();
        if let Some(before) = zones.get_mut(behind) {
            let needed = insists.before(bytes);
            if needed > before.bytes {
                (before.bytes, before.by, settled) = (needed, by, false);
            }
        }
    }
    // What that one has more, comes.
    for at in 1..zones.len() {
        let Some((behind, insists)) = zones.get(at).and_then(|zone| zone.behind) else { continue };
        let Some(given) = zones.get(behind).map(|zone| zone.bytes) else { continue };
        let whole = insists.before(insists.exactly(given).unwrap_or_else(|| insists.compressed(given)));
        if whole > given
            && let Some(before) = zones.get_mut(behind)
        {
            (before.bytes, settled) = (whole, false);
        }
        let arrives = insists.exactly(whole.max(given)).unwrap_or(u64::MAX);
        if let Some(zone) = zones.get_mut(at)
            && arrives != zone.bytes
        {
            (zone.bytes, zone.by, settled) = (arrives, insists.name.clone(), false);
        }
    }
    settled
}

fn no_size(wishes: &[Wish]) -> String {
    let strict = || wishes.iter().filter(|wish| !wish.prefers());
    let steps = strict()
        .filter(|wish| wish.range.stepping > 1)
        .map(|wish| format!("{} in steps of {}", wish.name, wish.range.stepping));
    let ratios = strict().filter(|wish| wish.insists()).map(|wish| {
        let ratio = wish.compression;
        format!("{} insists on {}:{}", wish.name, ratio.ratio_numerator, ratio.ratio_denominator)
    });
    format!("no size of a frame suits all pins: {}", steps.chain(ratios).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::framing::tests::wish;
    use super::*;
    use ks_abi::{KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, KsFramingRange};

    fn insists(name: &str, over: u32, under: u32, margin: u32) -> Wish {
        let compression =
            KsCompression { ratio_numerator: over, ratio_denominator: under, ratio_constant_margin: margin };
        Wish { compression, flags: KSALLOCATOR_FLAG_INSIST_ON_FRAMESIZE_RATIO, ..wish(name, 1) }
    }

    fn steps(name: &str, most: u32, step: u32) -> Wish {
        let range = KsFramingRange { min_frame_size: 0, max_frame_size: most, stepping: step };
        Wish { range, ..wish(name, 1) }
    }

    /// Each behind the one before it.
    fn agreed(mut wishes: Vec<Wish>) -> Result<(u32, String), String> {
        for (index, wish) in wishes.iter_mut().enumerate() {
            wish.after = index.checked_sub(1);
        }
        let mut agreed = Agreed::default();
        let outcome = agree(&wishes, &mut agreed).map_err(|refusal| refusal.reason);
        outcome.map(|()| (agreed.framing.frame_bytes, agreed.bytes_by))
    }

    #[test]
    fn a_ratio_that_is_insisted_on_is_kept_to_the_byte() {
        let by = |bytes, name: &str| Ok((bytes, name.to_owned()));
        // Of 100 bytes a third would be 34: 102 are the next of which it is a whole number.
        assert_eq!(agreed(vec![wish("a.0", 100), insists("b.1", 1, 3, 0)]), by(102, "a.0"));
        let advises = Wish { flags: 0, ..insists("b.1", 1, 3, 0) };
        assert_eq!(agreed(vec![wish("a.0", 100), advises]), by(100, "a.0"), "without the flag there is room only");
        // What comes out is on the steps of those behind it, whatever the buffer's size.
        assert_eq!(agreed(vec![wish("a.0", 100), insists("b.1", 1, 3, 0), steps("c.0", 0, 16)]), by(144, "b.1"));
        assert_eq!(agreed(vec![wish("a.0", 100), insists("b.1", 3, 2, 10), steps("c.0", 0, 64)]), by(256, "b.1"));
        // What is asked for behind it is asked for before it.
        assert_eq!(agreed(vec![wish("a.0", 1), insists("b.1", 1, 4, 0), wish("c.0", 50)]), by(200, "c.0"));
    }

    #[test]
    fn pins_on_both_sides_of_such_a_ratio_have_limits_of_their_own() {
        let chain = |most| vec![wish("a.0", 300), insists("b.1", 1, 3, 0), steps("c.0", most, 1)];
        assert_eq!(agreed(chain(100)).map(|agreed| agreed.0), Ok(300), "100 bytes arrive there");
        let reason = agreed(chain(99)).unwrap_err();
        assert_eq!(reason, "b.1 asks for frames of at least 100 bytes, c.0 takes at most 99");
        let grows = vec![steps("a.0", 100, 1), insists("b.1", 2, 1, 0), wish("c.0", 300)];
        assert_eq!(agreed(grows).unwrap_err(), "c.0 asks for frames of at least 150 bytes, a.0 takes at most 100");
    }

    #[test]
    fn a_ratio_that_no_size_keeps_is_refused_unless_it_is_preferred_only() {
        // Twice a size and one more is odd, and steps of four are not.
        let odd = |flags| {
            let ratio = insists("b.1", 2, 1, 1);
            vec![wish("a.0", 10), Wish { flags: ratio.flags | flags, ..ratio }, steps("c.0", 0, 4)]
        };
        let reason = agreed(odd(0)).unwrap_err();
        assert_eq!(reason, "no size of a frame suits all pins: c.0 in steps of 4, b.1 insists on 2:1");
        assert_eq!(agreed(odd(KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY)).map(|agreed| agreed.0), Ok(24));
    }

    #[test]
    fn a_size_that_another_circuit_has_fixed_is_the_only_one() {
        let fixed = |bytes| Wish { exact: Some((bytes, "f.1 insists".into())), ..wish("f.0", 1) };
        assert_eq!(agreed(vec![wish("a.0", 100), fixed(120)]), Ok((120, "f.0".into())));
        let reason = agreed(vec![wish("a.0", 130), fixed(120)]).unwrap_err();
        assert_eq!(reason, "f.0 takes frames of 120 bytes only, as f.1 insists; a.0 asks for 130");
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let huge = insists("b.1", u32::MAX, 1, u32::MAX);
        assert!(agreed(vec![wish("a.0", u32::MAX), huge.clone(), huge]).is_err());
        let just = insists("b.1", u32::MAX, u32::MAX - 1, 0);
        assert_eq!(agreed(vec![wish("a.0", 7), just.clone()]).map(|agreed| agreed.0), Ok(u32::MAX));
        assert!(agreed(vec![wish("a.0", 7), just, steps("c.0", 0, 1000)]).is_err());
    }
}
