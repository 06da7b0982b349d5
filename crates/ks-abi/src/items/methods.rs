//! Ids of methods.

use super::Item;
use crate::guid::sets::*;

items! {
    "Id of a method of [`KSMETHODSETID_StreamAllocator`]" STREAMALLOCATOR: KSMETHODSETID_StreamAllocator {
        KSMETHOD_STREAMALLOCATOR_ALLOC = 0,
        KSMETHOD_STREAMALLOCATOR_FREE = 1,
    }
}

items! {
    "Id of a method of [`KSMETHODSETID_StreamIo`]" STREAMIO: KSMETHODSETID_StreamIo {
        KSMETHOD_STREAMIO_READ = 0,
        KSMETHOD_STREAMIO_WRITE = 1,
    }
}

items! {
    "Id of a method of [`KSMETHODSETID_Wavetable`]" WAVETABLE: KSMETHODSETID_Wavetable {
        KSMETHOD_WAVETABLE_WAVE_ALLOC = 0,
        KSMETHOD_WAVETABLE_WAVE_FREE = 1,
        KSMETHOD_WAVETABLE_WAVE_FIND = 2,
        KSMETHOD_WAVETABLE_WAVE_WRITE = 3,
    }
}

/// The items of this module.
pub(super) const TABLES: &[&[Item]] = &[STREAMALLOCATOR, STREAMIO, WAVETABLE];
