//! The report of a driver that broke its process: what a debugger would have said.
//!
//! The host process writes it, line by line, to its standard error while it dies; see [`Reader`] for the form. The
//! parent puts names to addresses, because it has the image and a heap that is whole.

use std::fmt;

/// Why a driver host ended, as far as it could tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DriverReport {
    /// The driver, by the name of its file.
    pub driver: String,
    /// What kind of end it was.
    pub kind: ReportKind,
    /// What happened, in a sentence.
    pub what: String,
    /// Where in the image the driver was: name and offset, with symbol and source line where they are known.
    pub at: Option<CodePlace>,
    /// Where the driver called the routine that found the fault.
    pub called_from: Option<CodePlace>,
    /// The rule of the verifier that it broke: `KsFilterMutex (V10, 0x8100a)`.
    pub rule: Option<String>,
    /// The calls behind that one, nearest first, where a rule was broken or a routine did not return.
    pub stack: Vec<CodePlace>,
    /// Where it may have called it, nearest first, until the image is looked at.
    #[serde(skip)]
    pub(crate) callers: Vec<CodePlace>,
    /// Level of the thread (IRQL).
    pub level: Option<u8>,
    /// The system's number of the thread.
    pub thread: Option<u64>,
    /// What the driver was asked for at that time.
    pub request: Option<String>,
    /// Registers, a line each.
    pub registers: Vec<String>,
    /// The last events before, oldest first.
    pub events: Vec<String>,
    /// The last lines that the driver printed.
    pub output: Vec<String>,
}

/// What kind of end a driver host came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportKind {
    /// The processor did not allow what the driver did.
    Fault,
    /// The driver broke a rule that stops Windows.
    Misuse,
    /// The driver stopped the machine.
    BugCheck,
    /// The driver called a routine that nothing exports.
    UnimplementedImport,
    /// The driver did not answer in time.
    Hang,
    /// The driver could not be loaded or started.
    Load,
    /// The process ended, and told nothing.
    #[default]
    Ended,
}

impl fmt::Display for ReportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReportKind::Fault => "fault",
            ReportKind::Misuse => "misuse",
            ReportKind::BugCheck => "bug check",
            ReportKind::UnimplementedImport => "unimplemented import",
            ReportKind::Hang => "hang",
            ReportKind::Load => "load",
            ReportKind::Ended => "end of the process",
        })
    }
}

/// A place in a driver's code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CodePlace {
    /// The image, by the name of its file.
    pub image: String,
    /// Offset from its start.
    pub offset: u64,
    /// Nearest symbol before it, with the distance.
    pub symbol: Option<String>,
    /// Source file and line.
    pub line: Option<String>,
}

impl fmt::Display for CodePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.image, self.offset)?;
        if let Some(symbol) = &self.symbol {
            write!(f, " {symbol}")?;
        }
        if let Some(line) = &self.line {
            write!(f, " at {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DriverReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", self.driver, self.kind, self.what)?;
        if let Some(at) = &self.at {
            writeln!(f, "  at           {at}")?;
        }
        if let Some(called_from) = &self.called_from {
            writeln!(f, "  called from  {called_from}")?;
        }
        self.stack.iter().try_for_each(|place| writeln!(f, "               {place}"))?;
        if let Some(rule) = &self.rule {
            writeln!(f, "  rule         {rule}")?;
        }
        if let Some(level) = self.level {
            writeln!(f, "  level        {}", level_name(level))?;
        }
        if let Some(request) = &self.request {
            writeln!(f, "  request      {request}")?;
        }
        for register in &self.registers {
            writeln!(f, "  {register}")?;
        }
        if !self.events.is_empty() {
            writeln!(f, "  last events")?;
            self.events.iter().try_for_each(|event| writeln!(f, "    {event}"))?;
        }
        if !self.output.is_empty() {
            writeln!(f, "  last output")?;
            self.output.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

fn level_name(level: u8) -> String {
    match level {
        0 => "PASSIVE_LEVEL".to_owned(),
        1 => "APC_LEVEL".to_owned(),
        2 => "DISPATCH_LEVEL".to_owned(),
        other => other.to_string(),
    }
}

/// The most lines of one kind that are kept; a driver's process can write as many as it likes.
const MOST_LINES: usize = 64;
/// The most bytes of a line that are kept.
const MOST_LINE_BYTES: usize = 1024;

/// Pool memory that a driver had not given back when it was unloaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Leak {
    /// The tag, as it is written.
    pub tag: String,
    /// Number of blocks.
    pub blocks: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} blocks of tag '{}', {} bytes", self.blocks, self.tag, self.bytes)
    }
}

/// What still ran of a driver, or would have, when it was unloaded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remainder {
    /// Timers that were set; they are cancelled.
    Timers(u64),
    /// Work items that were queued or ran.
    WorkItems(u64),
    /// A system thread that had not ended.
    Thread {
        /// Where it began.
        routine: Option<CodePlace>,
        /// Processor time that it had taken, in milliseconds.
        processor_ms: u64,
    },
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remainder::Timers(count) => write!(f, "timers that are set: {count}"),
            Remainder::WorkItems(count) => write!(f, "work items that have not ended: {count}"),
            Remainder::Thread { routine, processor_ms } => {
                f.write_str("a system thread that has not ended")?;
                if let Some(routine) = routine {
                    write!(f, ", begun at {routine}")?;
                }
                write!(f, ", with {processor_ms} ms of processor time")
            }
        }
    }
}

/// What a host said in its life.
#[derive(Debug, Default)]
pub struct LastWords {
    /// Its report, if it wrote one.
    pub report: Option<DriverReport>,
    /// What the driver had not given back, if it was unloaded.
    pub leaks: Vec<Leak>,
    /// What still ran of it then.
    pub remainders: Vec<Remainder>,
    /// Other lines.
    pub said: Vec<String>,
}

/// Reads the lines of a dying host. A line is a word, a blank and the rest:
///
/// ```text
/// report fault
/// what read of address 0x0
/// at synthcam.sys 1a2b
/// caller synthcam.sys 1a60
/// level 2
/// thread 4711
/// request IOCTL_KS_PROPERTY
/// register rax 0000000000000000
/// event 12.000345 KeSetEvent 7f00 1
/// end
/// ```
///
/// At an unload, each for itself: `leak 2 300 Tag1` (blocks, bytes, tag), `left-timers 1`, `left-work-items 1`,
/// `left-thread 20 synthcam.sys 1a2b` (milliseconds, where it began).
/// Other lines are kept as what the process said. Nothing in them is believed further than this.
#[derive(Debug, Default)]
pub struct Reader {
    report: Option<DriverReport>,
    ended: bool,
    leaks: Vec<Leak>,
    remainders: Vec<Remainder>,
    said: Vec<String>,
}

impl Reader {
    /// Takes one line. True when the report is complete.
    pub fn line(&mut self, line: &str) -> bool {
        let line: String = line.chars().filter(|c| !c.is_control()).take(MOST_LINE_BYTES).collect();
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match (word, &mut self.report) {
            ("report", None) => {
                let kind = match rest {
                    "fault" => ReportKind::Fault,
                    "misuse" => ReportKind::Misuse,
                    "bug-check" => ReportKind::BugCheck,
                    "unimplemented-import" => ReportKind::UnimplementedImport,
                    "hang" => ReportKind::Hang,
                    "load" => ReportKind::Load,
                    _ => ReportKind::Ended,
                };
                self.report = Some(DriverReport { kind, ..DriverReport::default() });
            }
            ("what", Some(report)) => report.what = rest.to_owned(),
            ("at", Some(report)) => report.at = place(rest),
            ("caller", Some(report)) if report.callers.len() < MOST_LINES => report.callers.extend(place(rest)),
            ("called-from", Some(report)) => report.called_from = place(rest),
            ("rule", Some(report)) => report.rule = Some(rest.to_owned()),
            ("level", Some(report)) => report.level = rest.parse().ok(),
            ("thread", Some(report)) => report.thread = rest.parse().ok(),
            ("request", Some(report)) => report.request = Some(rest.to_owned()),
            ("register", Some(report)) if report.registers.len() < MOST_LINES => report.registers.push(rest.to_owned()),
            ("event", Some(report)) if report.events.len() < MOST_LINES => report.events.push(rest.to_owned()),
            ("end", Some(_)) => self.ended = true,
            ("leak", _) if self.leaks.len() < MOST_LINES => self.leaks.extend(leak(rest)),
            ("left-timers" | "left-work-items" | "left-thread", _) if self.remainders.len() < MOST_LINES => {
                self.remainders.extend(remainder(word, rest));
            }
            _ => {
                if self.said.len() == MOST_LINES {
                    self.said.remove(0);
                }
                self.said.push(line);
            }
        }
        self.ended
    }

    /// True once the last line of a report was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What was said.
    pub fn finish(self) -> LastWords {
        LastWords { report: self.report, leaks: self.leaks, remainders: self.remainders, said: self.said }
    }
}

fn leak(text: &str) -> Option<Leak> {
    let mut words = text.splitn(3, ' ');
    let (blocks, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Leak { tag: words.next()?.to_owned(), blocks, bytes })
}

fn remainder(word: &str, text: &str) -> Option<Remainder> {
    let count = || text.parse().ok().filter(|&count| count > 0);
    match word {
        "left-timers" => count().map(Remainder::Timers),
        "left-work-items" => count().map(Remainder::WorkItems),
        _ => {
            let (processor_ms, routine) = text.split_once(' ')?;
            Some(Remainder::Thread { routine: place(routine), processor_ms: processor_ms.parse().ok()? })
        }
    }
}

fn place(text: &str) -> Option<CodePlace> {
    let (image, offset) = text.rsplit_once(' ')?;
    let offset = u64::from_str_radix(offset, 16).ok()?;
    Some(CodePlace { image: image.to_owned(), offset, symbol: None, line: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<DriverReport>, Vec<String>) {
        let mut reader = Reader::default();
        text.lines().for_each(|line| _ = reader.line(line));
        let LastWords { report, said, .. } = reader.finish();
        (report, said)
    }

    #[test]
    fn leaks_are_read_with_tags_of_any_letters() {
        let mut reader = Reader::default();
        for line in ["leak 2 300 Lak1", "leak 1 5000 a b", "leak one 1 x", "leak 1"] {
            assert!(!reader.line(line));
        }
        let leak = |tag: &str, blocks, bytes| Leak { tag: tag.to_owned(), blocks, bytes };
        assert_eq!(reader.finish().leaks, [leak("Lak1", 2, 300), leak("a b", 1, 5000)]);
    }

    #[test]
    fn what_still_runs_at_the_unload_is_read() {
        let mut reader = Reader::default();
        for line in
            ["left-timers 0", "left-timers 2", "left-work-items x", "left-thread 7 my driver.sys 1a2b", "left-thread"]
        {
            assert!(!reader.line(line));
        }
        let shown: Vec<_> = reader.finish().remainders.iter().map(Remainder::to_string).collect();
        let thread = "a system thread that has not ended, begun at my driver.sys+0x1a2b, with 7 ms of processor time";
        assert_eq!(shown, ["timers that are set: 2", thread]);
    }

    #[test]
    fn a_report_is_read_line_by_line() {
        let (report, said) = read(
            "loading\nreport fault\nwhat read of address 0x0\nat my driver.sys 1a2b\nlevel 2\nthread 7\n\
             rule KsFilterMutex (V10, 0x8100a)\nrequest IOCTL_KS_PROPERTY\nregister rax 0\nevent 12 KeSetEvent 1 2\nend\n",
        );
        let report = report.unwrap();
        assert_eq!(report.kind, ReportKind::Fault);
        assert_eq!(report.what, "read of address 0x0");
        assert_eq!(report.rule.as_deref(), Some("KsFilterMutex (V10, 0x8100a)"));
        let at = report.at.unwrap();
        assert_eq!((at.image.as_str(), at.offset), ("my driver.sys", 0x1a2b));
        assert_eq!((report.level, report.thread), (Some(2), Some(7)));
        assert_eq!(report.request.as_deref(), Some("IOCTL_KS_PROPERTY"));
        assert_eq!((report.registers.len(), report.events.len()), (1, 1));
        assert_eq!(said, ["loading"]);
    }

    #[test]
    fn what_a_hostile_process_writes_is_bounded_and_harmless() {
        let mut text = "report fault\n".to_owned();
        (0..1000).for_each(|_| text.push_str("event \u{1b}[2J again\nnoise\n"));
        text.push_str(&format!("what {}\nat nonsense\nlevel 300\nreport misuse\n", "x".repeat(100_000)));
        let (report, said) = read(&text);
        let report = report.unwrap();
        assert_eq!(report.events.len(), MOST_LINES);
        assert!(!report.events[0].contains('\u{1b}'));
        assert!(report.what.len() <= MOST_LINE_BYTES);
        assert_eq!((report.kind, report.at, report.level), (ReportKind::Fault, None, None));
        assert_eq!(said.len(), MOST_LINES);
    }

    #[test]
    fn a_report_prints_what_is_known_and_no_more() {
        let report = DriverReport {
            driver: "faults.sys".to_owned(),
            kind: ReportKind::Fault,
            what: "read of address 0x0".to_owned(),
            at: Some(CodePlace {
                image: "faults.sys".to_owned(),
                offset: 0x1010,
                symbol: Some("ReadAt+0x4".to_owned()),
                line: Some("faults.c:13".to_owned()),
            }),
            level: Some(2),
            ..DriverReport::default()
        };
        assert_eq!(
            report.to_string(),
            "faults.sys: fault: read of address 0x0\n  at           faults.sys+0x1010 ReadAt+0x4 at faults.c:13\n  \
             level        DISPATCH_LEVEL\n"
        );
    }
}
