//! Which seed an interleaving had: told when a thread of it panics, and taken from the environment to run it again.

use std::cell::Cell;
use std::panic;
use std::sync::Once;

/// Takes the place of the seed of every virtual time.
const VARIABLE: &str = "KS_SEED";

thread_local! {
    /// The seed of the virtual time that this thread took part in last.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed to use where a test asks for `seed`: that of the environment, if there is one.
pub(super) fn chosen(seed: u64) -> u64 {
    tell_seeds_of_panics();
    match std::env::var(VARIABLE).ok().and_then(|text| text.trim().parse().ok()) {
        Some(again) => again,
        None => seed,
    }
}

/// The calling thread takes part in a virtual time of this seed.
pub(super) fn takes_part(seed: u64) {
    let _ = SEED.try_with(|of_thread| of_thread.set(Some(seed)));
}

/// What is told of a panic stays as it is; the seed comes behind it.
fn tell_seeds_of_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if let Some(seed) = SEED.try_with(Cell::get).ok().flatten() {
                eprintln!("this was the order of seed {seed}; {VARIABLE}={seed} runs it again");
            }
        }));
    });
}
