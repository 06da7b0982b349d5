//! Random numbers.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each routine trusts its caller's addresses, as its documentation page says"
)]

use super::driver_memory::{get, put};
use crate::exports;
use crate::exports::Export;

/// Exports of this file.
pub(crate) const EXPORTS: &[Export] = exports!(Ntoskrnl: RtlRandom, RtlRandomEx);

/// Most that the routines return: `MAXLONG` - 1.
const MOST: u32 = 0x7FFF_FFFE;

/// Bytes that nobody can guess.
pub(crate) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: the buffer is writable for its length.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if filled != bytes.len() as isize {
        let moment =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        bytes = moment.to_le_bytes();
    }
    bytes
}

/// Fills a buffer with bytes that nobody can guess; false where the machine has none.
///
/// # Safety
/// The buffer is the driver's, and writable.
pub(super) unsafe fn fill(to: *mut u8, length: usize) -> bool {
    let mut done = 0;
    while done < length {
        let count = libc::getrandom(to.add(done).cast(), length - done, 0);
        if count <= 0 {
            return false;
        }
        done += count as usize;
    }
    true
}

/// The next number of a sequence that the seed alone decides, 0 to `MAXLONG` - 1; it is the next seed.
pub(crate) unsafe extern "win64" fn RtlRandom(seed: *mut u32) -> u32 {
    // A linear congruence modulo 2^31 - 1.
    let state = u64::from(get(seed)) % 0x7FFF_FFFF;
    let next = ((state * 0x7FFF_FFED + 0x7FFF_FFC3) % 0x7FFF_FFFF) as u32;
    put(seed, next);
    next.min(MOST)
}

pub(crate) unsafe extern "win64" fn RtlRandomEx(seed: *mut u32) -> u32 {
    RtlRandom(seed)
}
