//! Progress of a run on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::quantity;

/// What a run works towards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// That many frames.
    Frames(u64),
    /// That much time.
    Nanoseconds(u64),
    /// The end of a file, or of patience.
    Unknown,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) frames: u64,
    pub(crate) drops: u64,
    pub(crate) elapsed_ns: u64,
}

impl Progress {
    /// "150 frames, 30.0 fps, 0 drops, 5.00 s".
    fn text(self) -> String {
        let rate = if self.elapsed_ns == 0 { 0.0 } else { self.frames as f64 * 1e9 / self.elapsed_ns as f64 };
        format!(
            "{}, {rate:.1} fps, {}, {}",
            quantity::plural(self.frames, "frame"),
            quantity::plural(self.drops, "drop"),
            quantity::duration(self.elapsed_ns)
        )
    }
}

/// A line on standard error that shows where a run is; nothing when that is not a terminal.
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    goal: Goal,
}

impl ProgressLine {
    pub(crate) fn new(goal: Goal) -> Self {
        let (length, template) = match goal {
            Goal::Frames(frames) => (Some(frames), "{bar:30} {percent:>3}%  {msg}"),
            Goal::Nanoseconds(ns) => (Some(ns), "{bar:30} {percent:>3}%  {msg}"),
            Goal::Unknown => (None, "{spinner} {msg}"),
        };
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, goal }
    }

    /// A line that shows nothing.
    pub(crate) fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), goal: Goal::Unknown }
    }

    pub(crate) fn show(&self, progress: Progress) {
        if self.bar.is_hidden() {
            return;
        }
        match self.goal {
            Goal::Frames(frames) => self.bar.set_position(progress.frames.min(frames)),
            Goal::Nanoseconds(ns) => self.bar.set_position(progress.elapsed_ns.min(ns)),
            Goal::Unknown => self.bar.tick(),
        }
        self.bar.set_message(progress.text());
    }

    /// Takes the line away, so that what follows stands alone.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_shows_frames_rate_drops_and_time() {
        let progress = Progress { frames: 150, drops: 1, elapsed_ns: 5_000_000_000 };
        assert_eq!(progress.text(), "150 frames, 30.0 fps, 1 drop, 5.00 s");
        assert_eq!(Progress::default().text(), "0 frames, 0.0 fps, 0 drops, 0 ns");
    }
}
