//! How much one request may allocate: as much as it carries, and 64 KiB.
//!
//! It counts only in a program whose allocator is [`ks_mem::CountingAllocator`]: the fuzz targets and this crate's tests.

use ks_mem::Allocations;

const BEYOND_INPUT_BYTES: u64 = 64 * 1024;

/// What the calling thread had allocated before a request.
pub(super) struct Allowance {
    before: Allocations,
    bytes: u64,
}

impl Allowance {
    pub(super) fn start(carried_bytes: usize) -> Self {
        Self { before: Allocations::of_this_thread(), bytes: carried_bytes as u64 + BEYOND_INPUT_BYTES }
    }

    /// Fails when the request allocated more, freed or not.
    pub(super) fn check(&self) {
        let spent = Allocations::of_this_thread().since(self.before).bytes;
        assert!(spent <= self.bytes, "a request allocated {spent} bytes, {} are allowed", self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;

    #[test]
    fn opening_a_media_file_costs_no_more_than_any_other_request() {
        let directory = std::env::temp_dir().join(format!("ks-testkit-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut wav = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        wav.extend([0x40, 0x1F, 0, 0, 0x80, 0x3E, 0, 0, 2, 0, 16, 0]);
        wav.extend(b"data\x04\0\0\0abcd");
        let y4m = b"YUV4MPEG2 W2 H2\nFRAME\nabcdef".to_vec();
        let files = [
            (ks_filters::wav_reader::descriptor(), "a.wav", wav),
            (ks_filters::y4m_reader::descriptor(), "a.y4m", y4m),
        ];
        for (filter, name, bytes) in files {
            let path = directory.join(name);
            std::fs::write(&path, bytes).unwrap();
            let path = path.to_str().unwrap();
            let scene = Scene::connectable().with(filter);
            let allowed = Allowance::start(path.len());
            assert!(scene.set_setting(1, path).is_success(), "{name}");
            allowed.check();
            scene.end();
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    #[should_panic(expected = "a request allocated")]
    fn more_than_the_allowance_is_noticed() {
        let allowed = Allowance::start(10);
        drop(std::hint::black_box(vec![1_u8; 66_000]));
        allowed.check();
    }
}
