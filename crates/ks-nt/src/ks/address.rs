//! Addresses that a driver passed, and routines of a driver.

use crate::ks::misuse::misuse;
use crate::machine;
use crate::report::{BugCheck, Call};
use crate::verifier;
use ks_abi::{KsIdentifier, NtStatus};
use ks_io::Level;
use zerocopy::{FromBytes, IntoBytes};

/// An address in the driver's world: of a descriptor, an object, a buffer.
///
/// What it stands for: NULL, or memory that holds what the documentation of the routine says, for as long as it says.
/// A value comes from a driver's call or from memory that a driver filled. A driver that breaks the contract faults
/// here, as it would in Windows, and the fault is reported with the routine in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    pub(crate) const NULL: Address = Address(0);

    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address, unless it is NULL.
    pub(crate) fn some(self) -> Option<Address> {
        (self.0 != 0).then_some(self)
    }

    /// The address of a field or element.
    pub(crate) fn at(self, offset: usize) -> Address {
        Address(self.0.wrapping_add(offset as u64))
    }

    /// Reads a value at an offset.
    pub(crate) fn get<T: FromBytes>(self, offset: usize) -> T {
        let from = self.at(offset).0 as *const T;
        // SAFETY: the promise of the type; every bit pattern is a value, and no alignment is needed.
        unsafe { from.read_unaligned() }
    }

    /// Reads a structure.
    pub(crate) fn read<T: FromBytes>(self) -> T {
        self.get(0)
    }

    /// Reads an address at an offset.
    pub(crate) fn follow(self, offset: usize) -> Address {
        Address(self.get(offset))
    }

    /// Writes a value at an offset.
    pub(crate) fn put<T: IntoBytes>(self, offset: usize, value: T) {
        let to = self.at(offset).0 as *mut T;
        // SAFETY: the promise of the type; no alignment is needed.
        unsafe { to.write_unaligned(value) }
    }

    /// Writes a value where the driver asked for one; at NULL nothing happens.
    pub(crate) fn put_optional<T: IntoBytes>(self, value: T) {
        if !self.is_null() {
            self.put(0, value);
        }
    }

    /// A copy of bytes.
    pub(crate) fn bytes(self, count: usize) -> Vec<u8> {
        let mut copy = vec![0; count];
        self.read_into(&mut copy);
        copy
    }

    /// Copies bytes out.
    pub(crate) fn read_into(self, to: &mut [u8]) {
        if !to.is_empty() {
            // SAFETY: the source is the promise of the type; the target is a slice of that length.
            unsafe { std::ptr::copy(self.0 as *const u8, to.as_mut_ptr(), to.len()) }
        }
    }

    /// Copies bytes in.
    pub(crate) fn write_bytes(self, from: &[u8]) {
        if !from.is_empty() {
            // SAFETY: the target is the promise of the type; the source is a slice of that length.
            unsafe { std::ptr::copy(from.as_ptr(), self.0 as *mut u8, from.len()) }
        }
    }

    /// The text at a zero-terminated wide string; at most `most` units.
    pub(crate) fn wide_text(self, most: usize) -> String {
        let units = (0..most).map(|at| self.get::<u16>(2 * at)).take_while(|unit| *unit != 0);
        String::from_utf16_lossy(&units.collect::<Vec<u16>>())
    }

    /// Can that many bytes be read here? Asked of what a driver declares, once, when it starts.
    pub(crate) fn is_readable(self, bytes: usize) -> bool {
        const STEP: usize = 4096;
        let last = bytes.saturating_sub(1);
        let mut offset = 0;
        loop {
            if !self.at(offset).is_byte_readable() {
                return false;
            }
            if offset == last {
                return true;
            }
            offset = (offset + STEP).min(last);
        }
    }

    fn is_byte_readable(self) -> bool {
        let mut byte = 0u8;
        let local = libc::iovec { iov_base: std::ptr::from_mut(&mut byte).cast(), iov_len: 1 };
        let remote = libc::iovec { iov_base: self.0 as *mut libc::c_void, iov_len: 1 };
        // SAFETY: no argument is needed.
        let process = unsafe { libc::getpid() };
        // SAFETY: the local buffer lives and has one byte; the kernel checks the other address.
        let copied = unsafe { libc::process_vm_readv(process, &local, 1, &remote, 1, 0) };
        // A kernel that does not offer the call says nothing about the address.
        copied == 1 || (copied < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EFAULT))
    }
}

/// A routine of a driver, in the Windows calling convention.
///
/// What it stands for: code of a loaded image (or one of our own exports) that takes the arguments that the
/// documentation of its kind says, each of them an integer or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routine {
    address: u64,
    name: &'static str,
    /// What it answers, where that is known: for reports.
    identifier: Option<KsIdentifier>,
}

macro_rules! callers {
    ($($name:ident($($argument:ident),*);)+) => {
        $(
            #[allow(clippy::too_many_arguments, reason = "as many as the routine has")]
            pub(crate) fn $name(self, $($argument: u64),*) -> u64 {
                type Code = unsafe extern "win64" fn($(callers!(@type $argument)),*) -> u64;
                machine::enter_thread();
                let call = Call::of(self.name, callers!(@first $($argument),*));
                if let Some(identifier) = self.identifier {
                    call.answers(identifier);
                }
                let level = Level::current();
                let taken = verifier::is_enabled().then(verifier::Taken::now);
                // SAFETY: the promise of the type: there is code here, of this many word arguments.
                let code: Code = unsafe { std::mem::transmute::<u64, Code>(self.address) };
                // SAFETY: the arguments are those that the documentation of the routine says; see the callers.
                let result = unsafe { code($($argument),*) };
                self.check_level(level, callers!(@first $($argument),*));
                if let Some(taken) = taken {
                    let objects = [callers!(@first $($argument),*), callers!(@second $($argument),*)];
                    verifier::returned(self.call(), objects, result, taken);
                }
                result
            }
        )+
    };
    (@type $argument:ident) => { u64 };
    (@first $first:ident $(, $rest:ident)*) => { $first };
    (@second $first:ident) => { 0 };
    (@second $first:ident, $second:ident $(, $rest:ident)*) => { $second };
}

impl Routine {
    /// The routine at an address that a table of the driver's names; `None` for NULL.
    pub(crate) fn optional(address: Address, name: &'static str) -> Option<Routine> {
        address.some().map(|address| Routine { address: address.0, name, identifier: None })
    }

    /// The same routine, called to answer this property, method or event.
    pub(crate) fn answering(self, identifier: KsIdentifier) -> Routine {
        Routine { identifier: Some(identifier), ..self }
    }

    callers! {
        call1(a);
        call2(a, b);
        call3(a, b, c);
        call4(a, b, c, d);
        call5(a, b, c, d, e);
        call6(a, b, c, d, e, f);
        call7(a, b, c, d, e, f, g);
        call8(a, b, c, d, e, f, g, h);
        call9(a, b, c, d, e, f, g, h, i);
    }

    fn call(self) -> verifier::Called {
        verifier::Called { routine: self.name, address: self.address }
    }

    fn check_level(self, before: Level, object: u64) {
        let after = Level::current();
        if after != before {
            let what = format!("returned at {after:?} level, but was called at {before:?} level");
            before.set_current();
            if verifier::returned_at(self.call(), object, &what) {
                return;
            }
            misuse(BugCheck::IRQL_UNEXPECTED_VALUE, self.name, what);
        }
    }
}

/// The status in a routine's result: the upper half of the register means nothing.
pub(crate) fn status(result: u64) -> NtStatus {
    NtStatus(result as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wild_address_is_told_from_a_good_one_without_a_fault() {
        let good = [7u64; 3];
        let address = Address(good.as_ptr() as u64);
        assert!(address.is_readable(24));
        assert_eq!(address.get::<u64>(16), 7);
        assert!(!Address(8).is_readable(1));
        assert!(!Address(u64::MAX - 100).is_readable(50));
    }

    #[test]
    fn a_routine_gets_all_of_its_arguments() {
        #[allow(clippy::too_many_arguments, reason = "the largest of all handlers")]
        unsafe extern "win64" fn all(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, g: u64, h: u64) -> u64 {
            [a, b, c, d, e, f, g, h].iter().fold(0, |sum, digit| 10 * sum + digit)
        }
        let routine = Routine::optional(Address(all as *const () as u64), "all").unwrap();
        assert_eq!(routine.call8(1, 2, 3, 4, 5, 6, 7, 8), 12_345_678);
        assert_eq!(Routine::optional(Address::NULL, "none"), None);
    }
}
