//! Memory of a client that changes each byte as soon as it has been read.

use ks_io::CallerMemory;
use std::cell::{Cell, RefCell};

pub struct EvilMemory {
    bytes: RefCell<Vec<u8>>,
    reads: RefCell<Vec<u32>>,
    /// What each byte becomes by a read.
    twist: fn(u8) -> u8,
    /// The length that it claims; it has as many bytes as were given.
    claimed: Cell<usize>,
}

impl EvilMemory {
    pub fn new(bytes: &[u8], twist: fn(u8) -> u8) -> EvilMemory {
        EvilMemory {
            bytes: RefCell::new(bytes.to_vec()),
            reads: RefCell::new(vec![0; bytes.len()]),
            twist,
            claimed: Cell::new(bytes.len()),
        }
    }

    /// How often the byte was read that was read most.
    pub fn most_reads(&self) -> u32 {
        self.reads.borrow().iter().copied().max().unwrap_or(0)
    }
}

impl CallerMemory for EvilMemory {
    fn length(&self) -> usize {
        self.claimed.get()
    }

    fn copy_to(&self, to: &mut [u8]) {
        let (mut bytes, mut reads) = (self.bytes.borrow_mut(), self.reads.borrow_mut());
        assert_eq!(to.len(), bytes.len(), "the whole buffer is read at once");
        for ((to, byte), reads) in to.iter_mut().zip(bytes.iter_mut()).zip(reads.iter_mut()) {
            *to = *byte;
            *byte = (self.twist)(*byte);
            *reads += 1;
        }
    }
}
