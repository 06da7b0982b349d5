//! What the devices of hosted drivers are called.
//!
//! A driver publishes links with the name of its device in them, from its AddDevice on. So the name is found before its host
//! is started, and is the same in both processes.

use crate::driver_host::name_of;
use ks_io::IoManager;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names for devices of hosts that are being started: of which engine, and the name.
static RESERVED: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());

fn reserved() -> MutexGuard<'static, Vec<(usize, String)>> {
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The names of the devices that an engine has.
pub(crate) fn taken(io: &IoManager) -> Vec<String> {
    io.interfaces(None).into_iter().map(|one| one.device).collect()
}

/// The name, with a number behind it where it is taken.
pub(crate) fn free(taken: &[String], wanted: &str) -> String {
    let is_free = |name: &str| !taken.iter().any(|known| known.eq_ignore_ascii_case(name));
    let numbered = (2_u64..).map(|number| format!("{wanted}-{number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
    names.find(|name| is_free(name)).unwrap_or_else(|| wanted.to_owned())
}

/// Names that no other host gets as long as this lives.
pub(crate) struct DeviceNames {
    engine: usize,
    names: Vec<String>,
}

impl DeviceNames {
    /// A name for the device of each driver, after its file.
    pub(crate) fn reserve(io: &Arc<IoManager>, files: &[PathBuf]) -> DeviceNames {
        let engine = Arc::as_ptr(io).addr();
        let mut taken = taken(io);
        let mut reserved = reserved();
        taken.extend(reserved.iter().filter(|(of, _)| *of == engine).map(|(_, name)| name.clone()));
        let mut names = Vec::new();
        for file in files {
            let name = free(&taken, &name_of(file));
            taken.push(name.clone());
            reserved.push((engine, name.clone()));
            names.push(name);
        }
        DeviceNames { engine, names }
    }

    /// In the order of the files.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }
}

impl Drop for DeviceNames {
    fn drop(&mut self) {
        let mut reserved = reserved();
        for name in &self.names {
            let at = reserved.iter().position(|(of, known)| *of == self.engine && known == name);
            at.map(|at| reserved.swap_remove(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_io::Services;

    #[test]
    fn a_name_is_reserved_until_it_is_registered_and_for_one_engine() {
        let engine = || IoManager::new(Services::virtual_time(1));
        let (one, other) = (engine(), engine());
        let files = ["/a/x.sys", "/b/X.SYS", "/b/y.sys"].map(PathBuf::from);
        let first = DeviceNames::reserve(&one, &files);
        assert_eq!(first.names(), ["x.sys", "X.SYS-2", "y.sys"]);
        let second = DeviceNames::reserve(&one, &files[..1]);
        assert_eq!(second.names(), ["x.sys-3"]);
        assert_eq!(DeviceNames::reserve(&other, &files[..1]).names(), ["x.sys"]);
        drop(first);
        assert_eq!(DeviceNames::reserve(&one, &files[..2]).names(), ["x.sys", "X.SYS-2"]);
        drop(second);
    }
}
