//! Ctrl-C and its relatives stop a graph in order, and end opens that a driver holds; a second one ends the process at
//! once.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::output;

type Stop = Arc<dyn Fn() + Send + Sync>;

/// Makes a write beyond the limit on file sizes (RLIMIT_FSIZE) fail, instead of the process ending at once.
pub(crate) fn survive_file_size_limit() {
    // Without the handler a write at the limit ends the process as it would have without this call.
    _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Listens for signals from [`Interrupt::install`] to the end of the process.
#[derive(Clone)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The first signal, or 0. Set before `stop` is looked at, and `stop` is set before this is looked at: whoever
    /// comes second stops the graph.
    signal: AtomicU8,
    stop: Mutex<Option<Stop>>,
    /// What ends opens that a driver holds; by a signal only, and before `stop`.
    end_opens: Mutex<Option<Stop>>,
}

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn install() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let interrupt = Self { shared: Arc::default() };
        let listener = interrupt.clone();
        thread::Builder::new().name("ks-signals".into()).spawn(move || {
            for signal in signals.forever() {
                listener.raise(u8::try_from(signal).unwrap_or(0));
            }
        })?;
        Ok(interrupt)
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<u8> {
        Some(self.shared.signal.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// Calls `stop` when a signal comes, or now if one came.
    pub(crate) fn on_signal(&self, stop: impl Fn() + Send + Sync + 'static) {
        let stop: Stop = Arc::new(stop);
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stop));
        if self.signal().is_some() {
            stop();
        }
    }

    /// Calls `end` when a signal comes, before what is to stop, or now if one came.
    pub(crate) fn end_opens(&self, end: impl Fn() + Send + Sync + 'static) {
        let end: Stop = Arc::new(end);
        *self.shared.end_opens.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&end));
        if self.signal().is_some() {
            end();
        }
    }

    /// Stops the graph that runs, as a signal would, without one.
    pub(crate) fn stop(&self) {
        let stop = self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(stop) = stop {
            stop();
        }
    }

    fn raise(&self, signal: u8) {
        if self.shared.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            std::process::exit(i32::from(signal).saturating_add(128));
        }
        let end_opens = self.shared.end_opens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(end_opens) = end_opens {
            end_opens();
        }
        let stop = self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match stop {
            Some(stop) => stop(),
            // Opening a pipe that nobody reads waits for its reader, for one.
            None => output::complain(&"note: interrupted while files are being opened; once more ends at once"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn stops_counted(interrupt: &Interrupt) -> Arc<AtomicUsize> {
        let stops = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&stops);
        interrupt.on_signal(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        stops
    }

    #[test]
    fn a_signal_stops_what_runs() {
        let interrupt = Interrupt { shared: Arc::default() };
        let stops = stops_counted(&interrupt);
        assert_eq!((interrupt.signal(), stops.load(Ordering::SeqCst)), (None, 0));
        interrupt.raise(2);
        assert_eq!((interrupt.signal(), stops.load(Ordering::SeqCst)), (Some(2), 1));
    }

    #[test]
    fn opens_end_by_a_signal_and_not_by_a_stop() {
        let interrupt = Interrupt { shared: Arc::default() };
        let (stops, ends) = (stops_counted(&interrupt), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&ends);
        interrupt.end_opens(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        interrupt.stop();
        assert_eq!((stops.load(Ordering::SeqCst), ends.load(Ordering::SeqCst)), (1, 0));
        interrupt.raise(2);
        assert_eq!((stops.load(Ordering::SeqCst), ends.load(Ordering::SeqCst)), (2, 1));
    }

    #[test]
    fn a_signal_that_came_before_stops_what_starts() {
        let interrupt = Interrupt { shared: Arc::default() };
        interrupt.raise(15);
        assert_eq!(stops_counted(&interrupt).load(Ordering::SeqCst), 1);
    }
}
