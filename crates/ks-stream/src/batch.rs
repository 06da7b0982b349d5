//! Room for the requests of one hop, kept by each thread.

use ks_io::Irp;
use std::cell::Cell;

thread_local! {
    static ROOM: Cell<Vec<Irp>> = const { Cell::new(Vec::new()) };
}

/// Has `work` work with a batch of one request.
pub(crate) fn of_one<T>(irp: Irp, work: impl FnOnce(&mut Vec<Irp>) -> T) -> T {
    with(|batch| {
        batch.push(irp);
        work(batch)
    })
}

/// Has `work` work with an empty batch.
pub(crate) fn with<T>(work: impl FnOnce(&mut Vec<Irp>) -> T) -> T {
    let mut batch = ROOM.try_with(Cell::take).unwrap_or_default();
    let done = work(&mut batch);
    if batch.is_empty() {
        let _ = ROOM.try_with(|room| room.set(batch));
    }
    done
}
