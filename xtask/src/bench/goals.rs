//! The goals: what is compared, and the ratio that must be reached.

use super::Reading;

/// One goal of speed.
pub struct Goal {
    /// Its number in the project's list of goals, or its name.
    pub number: &'static str,
    /// The number, with a letter where it has several peers.
    pub id: &'static str,
    /// What is compared, and in which unit.
    pub what: &'static str,
    pub ours: Side,
    pub peer: Side,
    /// The ratio, ours to the peer, that must not be exceeded.
    pub gate: f64,
    /// What must be said beside the number.
    pub note: &'static str,
}

/// One side of a comparison.
pub struct Side {
    /// The programs to run, with their arguments.
    pub commands: &'static [&'static str],
    /// How their readings become one value.
    pub reduce: Reduce,
}

/// How the readings of one side become nanoseconds, of processor time where nothing else is said, a unit of work.
#[derive(Clone, Copy)]
pub enum Reduce {
    /// The one reading, as it is.
    Each,
    /// All readings together.
    Sum,
    /// What each of this many extra filters adds: the second reading less the first.
    PerExtra(u32),
    /// The time that passed in the one reading, in place of processor time.
    Passed,
    /// One figure of a process with many graphs, of a run that other goals look at too.
    Many(Figure),
    /// No reading: what is allowed, in nanoseconds.
    Allowed(u32),
}

/// What is compared of a process with many graphs.
#[derive(Clone, Copy)]
pub enum Figure {
    /// Nanoseconds of processor time a frame.
    Time,
    /// Resident bytes of a graph.
    Resident,
    /// Threads.
    Threads,
    /// Context switches a thousand frames.
    Switches,
}

impl Reduce {
    /// What a value of this kind counts; nanoseconds have no word.
    pub fn unit(self) -> &'static str {
        match self {
            Reduce::Many(Figure::Resident) => "bytes",
            Reduce::Many(Figure::Threads) => "threads",
            Reduce::Many(Figure::Switches) => "switches",
            _ => "",
        }
    }

    /// Whether one run of the programs does for all goals that name them.
    pub fn shares_runs(self) -> bool {
        matches!(self, Reduce::Many(_))
    }
}

impl Side {
    /// Nanoseconds a unit of work.
    pub fn value(&self, readings: &[Reading]) -> f64 {
        let each = |index: usize| readings.get(index).map_or(f64::NAN, Reading::cpu_ns_each);
        match self.reduce {
            Reduce::Each => each(0),
            Reduce::Sum => readings.iter().map(Reading::cpu_ns_each).sum(),
            Reduce::PerExtra(filters) => (each(1) - each(0)) / f64::from(filters),
            Reduce::Passed => readings.first().map_or(f64::NAN, Reading::wall_ns_each),
            Reduce::Many(figure) => readings.first().map_or(f64::NAN, |reading| match figure {
                Figure::Time => reading.cpu_ns_each(),
                Figure::Resident => reading.resident_bytes as f64,
                Figure::Threads => reading.threads as f64,
                Figure::Switches => reading.switches as f64 * 1000.0 / reading.work.max(1) as f64,
            }),
            Reduce::Allowed(nanoseconds) => f64::from(nanoseconds),
        }
    }
}

const fn each(commands: &'static [&'static str]) -> Side {
    Side { commands, reduce: Reduce::Each }
}

const fn sum(commands: &'static [&'static str]) -> Side {
    Side { commands, reduce: Reduce::Sum }
}

const fn per_extra(filters: u32, commands: &'static [&'static str]) -> Side {
    Side { commands, reduce: Reduce::PerExtra(filters) }
}

const fn passed(commands: &'static [&'static str]) -> Side {
    Side { commands, reduce: Reduce::Passed }
}

const fn many(figure: Figure, commands: &'static [&'static str]) -> Side {
    Side { commands, reduce: Reduce::Many(figure) }
}

const OUR_THOUSAND: &[&str] = &["ks-bench live 1000 2000"];
/// As many as two processors bear: of a thousand, frames come late and in bunches, and a frame's share says nothing.
const THEIR_MANY: &[&str] = &["gst_live 400 2000"];

const fn allowed(nanoseconds: u32) -> Side {
    Side { commands: &[], reduce: Reduce::Allowed(nanoseconds) }
}

/// No gate: the ratio is told, and nothing is judged by it.
const REPORTED: f64 = f64::INFINITY;

/// Every goal that `cargo xtask bench` measures.
pub const GOALS: &[Goal] = &[
    Goal {
        number: "1",
        id: "1",
        what: "CPU a 4 KB buffer, 3 filters in process / fakesrc ! identity ! fakesink",
        ours: each(&["ks-bench graph 3 4096 300000"]),
        peer: each(&["gst_graph 1 4096 300000"]),
        gate: 1.0 / 3.0,
        note: "GStreamer allocates a buffer a turn, ours come from a pool",
    },
    Goal {
        number: "2",
        id: "2",
        what: "CPU a buffer of an extra filter / of an extra identity",
        ours: per_extra(8, &["ks-bench graph 3 4096 300000", "ks-bench graph 11 4096 300000"]),
        peer: per_extra(8, &["gst_graph 1 4096 300000", "gst_graph 9 4096 300000"]),
        gate: 1.0 / 3.0,
        note: "",
    },
    Goal {
        number: "3",
        id: "3",
        what: "CPU a 3.1 MB buffer whose every page the sink reads / a 4 KB buffer, and reading those pages",
        ours: each(&["ks-bench graph 3 3110400 100000"]),
        peer: sum(&["ks-bench graph 3 4096 100000", "ks-bench touch 3110400 100000"]),
        gate: 1.05,
        note: "both sides are ours; missed also when a frame's bytes were copied",
    },
    Goal {
        number: "pipe",
        id: "pipe",
        what: "CPU a 3.1 MB frame through three filters that work in place / through one",
        ours: each(&["ks-bench graph 5 3110400 100000"]),
        peer: each(&["ks-bench graph 3 3110400 100000"]),
        gate: 1.3,
        note: "both sides are ours; the sink reads a byte of each page; missed also when bytes were copied",
    },
    Goal {
        number: "pipe",
        id: "pipe4k",
        what: "the same, a 4 KB frame",
        ours: each(&["ks-bench graph 5 4096 300000"]),
        peer: each(&["ks-bench graph 3 4096 300000"]),
        gate: REPORTED,
        note: "no filter does anything: what is compared is the number of hops",
    },
    Goal {
        number: "4",
        id: "4",
        what: "CPU a 4 KB buffer from a thread to another, at most 32 under way / fakesrc ! queue ! fakesink",
        ours: each(&["ks-bench hop 32 4096 100000"]),
        peer: each(&["gst_queue 32 4096 100000"]),
        gate: 1.0 / 3.0,
        note: "each of our pins is processed by workers of a queue of its own",
    },
    Goal {
        number: "5",
        id: "5",
        what: "CPU a 4 KB buffer from a thread to another, one at a time / the same with a queue of one buffer",
        ours: each(&["ks-bench hop 1 4096 20000"]),
        peer: each(&["gst_queue 1 4096 20000"]),
        gate: 0.8,
        note: "a wake each way",
    },
    Goal {
        number: "17",
        id: "17a",
        what: "CPU a frame of 1000 live audio graphs at 10 ms / of 400 of GStreamer's",
        ours: many(Figure::Time, OUR_THOUSAND),
        peer: many(Figure::Time, THEIR_MANY),
        gate: 1.0 / 5.0,
        note: "test-microphone ! null-renderer / audiotestsrc ! fakesink, both of 48 kHz stereo; 1000 of theirs are more than two processors bear",
    },
    Goal {
        number: "17",
        id: "17b",
        what: "resident bytes of each of 400 of these graphs",
        ours: many(Figure::Resident, &["ks-bench live 400 2000"]),
        peer: many(Figure::Resident, THEIR_MANY),
        gate: 1.0 / 4.0,
        note: "",
    },
    Goal {
        number: "17",
        id: "17c",
        what: "threads of their process / 16",
        ours: many(Figure::Threads, OUR_THOUSAND),
        peer: allowed(16),
        gate: 1.0,
        note: "",
    },
    Goal {
        number: "17",
        id: "17d",
        what: "context switches a thousand frames of these graphs",
        ours: many(Figure::Switches, OUR_THOUSAND),
        peer: many(Figure::Switches, THEIR_MANY),
        gate: 1.0 / 20.0,
        note: "",
    },
    Goal {
        number: "17",
        id: "17e",
        what: "CPU a frame of 10,000 live graphs / of 1000",
        ours: many(Figure::Time, &["ks-bench live 10000 2000"]),
        peer: many(Figure::Time, OUR_THOUSAND),
        gate: 1.5,
        note: "both sides are ours; fails when one of the graphs stands still",
    },
    Goal {
        number: "18",
        id: "18",
        what: "how late the 99th of each hundred ticks of 1 ms comes / in a bare loop of clock_nanosleep",
        ours: passed(&["ks-bench pace 1000 2000"]),
        peer: passed(&["pace 1000 2000"]),
        gate: 1.3,
        note: "time that passed, not processor time",
    },
    Goal {
        number: "6",
        id: "6",
        what: "CPU a 4 KB buffer to 8 branches of a tee / fakesrc ! tee to 8 fakesinks",
        ours: each(&["ks-bench fanout 8 4096 100000"]),
        peer: each(&["gst_tee 8 4096 100000"]),
        gate: 1.0 / 3.0,
        note: "every branch has the same bytes on both sides, and no sink looks at them",
    },
    Goal {
        number: "7",
        id: "7a",
        what: "CPU an in-process property GET / g_object_get of an integer",
        ours: each(&["ks-bench property_get 2000000"]),
        peer: each(&["gobject_get 2000000"]),
        gate: 1.2,
        note: "",
    },
    Goal {
        number: "7",
        id: "7b",
        what: "CPU an in-process property GET / getppid",
        ours: each(&["ks-bench property_get 2000000"]),
        peer: each(&["getppid 2000000"]),
        gate: 1.0,
        note: "",
    },
    Goal {
        number: "8",
        id: "8",
        what: "CPU an in-process property SET / g_object_set of an integer",
        ours: each(&["ks-bench property_set 2000000"]),
        peer: each(&["gobject_set 2000000"]),
        gate: 1.0 / 3.0,
        note: "",
    },
    Goal {
        number: "9",
        id: "9a",
        what: "CPU a property GET in another process / a bare futex round trip of two processes",
        ours: each(&["ks-bench property_across 50000"]),
        peer: each(&["futex_pair 100000"]),
        gate: 1.3,
        note: "with a processor for each side both stay awake; on one processor each turn is a wake each way",
    },
    Goal {
        number: "9",
        id: "9b",
        what: "time that passes, the same",
        ours: passed(&["ks-bench property_across 50000"]),
        peer: passed(&["futex_pair 100000"]),
        gate: 1.3,
        note: "",
    },
    Goal {
        number: "11",
        id: "11",
        what: "CPU a frame from another process and back, one at a time / a bare futex round trip of two processes",
        ours: each(&["ks-bench across 4096 1 50000"]),
        peer: each(&["futex_pair 100000"]),
        gate: 1.3,
        note: "the other process is confined as a driver's is; both sides count both processes",
    },
    Goal {
        number: "12",
        id: "12a",
        what: "CPU a frame from another process and back, one at a time / a PipeWire cycle of two processes",
        ours: each(&["ks-bench across 4096 1 50000"]),
        peer: each(&["pw_cycle 10000"]),
        gate: 0.5,
        note: "PipeWire's daemon is counted; its client triggers from its loop, as programs do",
    },
    Goal {
        number: "12",
        id: "12b",
        what: "time that passes, the same",
        ours: passed(&["ks-bench across 4096 1 50000"]),
        peer: passed(&["pw_cycle 10000"]),
        gate: 0.5,
        note: "",
    },
    Goal {
        number: "15",
        id: "15",
        what: "CPU to open 3 filters, connect, run and stop, close / set-up of 3 elements",
        ours: each(&["ks-bench setup 1000"]),
        peer: each(&["gst_setup 1000"]),
        gate: 1.0 / 5.0,
        note: "one buffer passes on each side",
    },
    Goal {
        number: "19",
        id: "19a",
        what: "CPU a test picture of 1080p, NV12 / videotestsrc",
        ours: each(&["ks-bench stream 300 test-camera live=false width=1920 height=1080 format=nv12 ! null-renderer"]),
        peer: each(&[
            "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=NV12,width=1920,height=1080 ! fakesink",
        ]),
        gate: REPORTED,
        note: "bars with a number and a moving block / SMPTE bars with a moving one",
    },
    Goal {
        number: "19",
        id: "19b",
        what: "CPU of video-converter, 1080p NV12 to I420 / of videoconvert",
        ours: per_extra(
            1,
            &[
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=nv12 ! null-renderer",
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=nv12 ! video-converter format=i420 ! null-renderer",
            ],
        ),
        peer: per_extra(
            1,
            &[
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=NV12,width=1920,height=1080 ! fakesink",
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=NV12,width=1920,height=1080 ! videoconvert ! video/x-raw,format=I420 ! fakesink",
            ],
        ),
        gate: REPORTED,
        note: "",
    },
    Goal {
        number: "19",
        id: "19c",
        what: "CPU of video-converter, 1080p NV12 to BGRA / of videoconvert",
        ours: per_extra(
            1,
            &[
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=nv12 ! null-renderer",
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=nv12 ! video-converter format=bgra ! null-renderer",
            ],
        ),
        peer: per_extra(
            1,
            &[
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=NV12,width=1920,height=1080 ! fakesink",
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=NV12,width=1920,height=1080 ! videoconvert ! video/x-raw,format=BGRx ! fakesink",
            ],
        ),
        gate: REPORTED,
        note: "",
    },
    Goal {
        number: "19",
        id: "19d",
        what: "CPU of video-converter, 1080p to 720p, I420 / of videoscale",
        ours: per_extra(
            1,
            &[
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=i420 ! null-renderer",
                "ks-bench stream 300 test-camera live=false width=1920 height=1080 format=i420 ! video-converter width=1280 height=720 ! null-renderer",
            ],
        ),
        peer: per_extra(
            1,
            &[
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=I420,width=1920,height=1080 ! fakesink",
                "gst_stream 300 videotestsrc num-buffers=300 ! video/x-raw,format=I420,width=1920,height=1080 ! videoscale ! video/x-raw,width=1280,height=720 ! fakesink",
            ],
        ),
        gate: REPORTED,
        note: "bicubic, so that what goes is filtered out / bilinear",
    },
    Goal {
        number: "19",
        id: "19e",
        what: "CPU 10 ms of a sine, 48 kHz stereo of 16 bits / audiotestsrc",
        ours: each(&[
            "ks-bench stream 20000 test-microphone live=false rate=48000 channels=2 format=s16 ! null-renderer",
        ]),
        peer: each(&[
            "gst_stream 20000 audiotestsrc num-buffers=20000 samplesperbuffer=480 ! audio/x-raw,format=S16LE,rate=48000,channels=2 ! fakesink",
        ]),
        gate: REPORTED,
        note: "",
    },
    Goal {
        number: "19",
        id: "19f",
        what: "CPU of audio-converter for 10 ms, 44.1 to 48 kHz stereo of 32-bit float / of audioresample",
        ours: per_extra(
            1,
            &[
                "ks-bench stream 10000 test-microphone live=false rate=44100 channels=2 format=f32 ! null-renderer",
                "ks-bench stream 10000 test-microphone live=false rate=44100 channels=2 format=f32 ! audio-converter ! wav-writer path=/dev/null rate=48000",
            ],
        ),
        peer: per_extra(
            1,
            &[
                "gst_stream 10000 audiotestsrc num-buffers=10000 samplesperbuffer=441 ! audio/x-raw,format=F32LE,rate=44100,channels=2 ! fakesink",
                "gst_stream 10000 audiotestsrc num-buffers=10000 samplesperbuffer=441 ! audio/x-raw,format=F32LE,rate=44100,channels=2 ! audioresample quality=10 ! audio/x-raw,rate=48000 ! fakesink",
            ],
        ),
        gate: REPORTED,
        note: "ours leaves less than -90 dB of 997 Hz; GStreamer at its best quality; ours writes to /dev/null beside",
    },
    Goal {
        number: "hosted",
        id: "hosted",
        what: "CPU a frame of counter.sys in its process / of its Rust twin, hosted the same way",
        ours: each(&["ks-bench driver counter.sys 50000"]),
        peer: each(&["ks-bench twin 50000"]),
        gate: 1.5,
        note: "the driver does next to nothing: what is compared is the cost of hosting",
    },
    Goal {
        number: "start",
        id: "start",
        what: "time from synthcam.sys in a file to its first frame, less the period of a frame / 100 ms",
        ours: passed(&["ks-bench first_frame synthcam.sys 10"]),
        peer: allowed(100_000_000),
        gate: 1.0,
        note: "time that passed, not processor time",
    },
    Goal {
        number: "death",
        id: "death",
        what: "time from the kill of a driver's process to the end of a request that waits for it / 100 ms",
        ours: passed(&["ks-bench host_death synthcam.sys 10"]),
        peer: allowed(100_000_000),
        gate: 1.0,
        note: "time that passed, not processor time",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(work: u64, cpu_ns: u64) -> Reading {
        Reading { work, cpu_ns, ..Reading::default() }
    }

    #[test]
    fn an_extra_filter_costs_the_difference_shared_among_the_extra_ones() {
        let side = per_extra(8, &[]);
        assert_eq!(side.value(&[reading(10, 1000), reading(10, 9000)]), 100.0);
    }

    #[test]
    fn the_parts_of_a_sum_are_added_each_by_its_own_work() {
        assert_eq!(sum(&[]).value(&[reading(10, 1000), reading(2, 9000)]), 4600.0);
    }

    #[test]
    fn time_that_passed_is_compared_with_what_is_allowed() {
        let reading = Reading { wall_ns: 500, ..reading(2, 7) };
        assert_eq!((passed(&[]).value(&[reading]), allowed(100).value(&[])), (250.0, 100.0));
    }

    #[test]
    fn figures_of_many_graphs_are_read_by_their_kind() {
        let reading = Reading { resident_bytes: 5, threads: 6, switches: 8, ..reading(2000, 4000) };
        let value = |figure| many(figure, &[]).value(std::slice::from_ref(&reading));
        assert_eq!([value(Figure::Time), value(Figure::Resident)], [2.0, 5.0]);
        assert_eq!([value(Figure::Threads), value(Figure::Switches)], [6.0, 4.0]);
    }

    #[test]
    fn a_missing_reading_is_no_number() {
        assert!(each(&[]).value(&[]).is_nan());
    }

    #[test]
    fn ids_are_unique() {
        for (index, goal) in GOALS.iter().enumerate() {
            assert!(GOALS.iter().skip(index + 1).all(|other| other.id != goal.id), "{}", goal.id);
        }
    }
}
