//! A driver host as a child process: how it is started, what it says, and how it ends.
//!
//! The child gets three descriptors: its end of the connection as standard input, a pipe for the lines that the driver
//! prints as standard output, and a pipe for its report as standard error. Others that this process has without
//! close-on-exec it closes first. It has no environment, and it ends when the connection does. It leads a process group
//! of its own: Ctrl-C and the end of a terminal are for the process that started it, which then stops it in order.

use crate::report::{DriverReport, LastWords, Leak, Reader, Remainder};
use ks_wire::{Connection, WireError};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The program that hosts drivers, with what comes before the arguments of the host.
#[derive(Debug, Clone)]
pub struct HostCommand {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

/// A running host.
#[derive(Debug)]
pub struct HostProcess {
    driver: String,
    child: Mutex<Child>,
    said: Arc<Said>,
    readers: Mutex<Vec<JoinHandle<()>>>,
}

/// What the child has said so far.
#[derive(Debug, Default)]
struct Said {
    state: Mutex<SaidState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SaidState {
    report: Reader,
    /// The report was written to its end, or nothing more can come.
    complete: bool,
    /// The child has closed what it writes to.
    closed: bool,
    output: VecDeque<String>,
}

/// How a host ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// Why, unless it ended in good order.
    pub report: Option<DriverReport>,
    /// What its driver had not given back, where it was unloaded.
    pub leaks: Vec<Leak>,
    /// What still ran of its driver then.
    pub remainders: Vec<Remainder>,
    /// It had to be ended, because it did not end by itself in the time that it was given.
    pub overdue: bool,
}

/// How long a host that does not end may take to say what a routine of its driver does.
pub(crate) const ANSWERS_WHY: Duration = Duration::from_secs(2);

/// The most lines of output that are kept.
const MOST_OUTPUT: usize = 64;
/// The most bytes of a line; the rest of a longer one is dropped.
const MOST_LINE: usize = 1024;

/// Takes the lines that a driver prints, as they come.
pub type OutputSink = Arc<dyn Fn(&str) + Send + Sync>;

impl HostProcess {
    /// Starts the child; `driver` is what reports call it. `output` takes the lines that the driver prints.
    pub fn start(
        command: &HostCommand,
        arguments: &[OsString],
        driver: &str,
        output: Option<OutputSink>,
    ) -> Result<(HostProcess, Connection), StartError> {
        let (connection, theirs) = Connection::pair()?;
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| StartError::Spawn { program: command.program.clone(), error })?;
        let said = Arc::new(Said::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let said = said.clone();
            readers.push(reader("ks-driver-output", move || {
                lines(pipe, |line| {
                    let line = harmless(line);
                    if let Some(output) = &output {
                        output(&line);
                    }
                    said.print(&line);
                });
            })?);
        }
        if let Some(pipe) = child.stderr.take() {
            let said = said.clone();
            readers.push(reader("ks-driver-report", move || {
                lines(pipe, |line| said.tell(line));
                said.close();
            })?);
        }
        let process =
            HostProcess { driver: driver.to_owned(), child: Mutex::new(child), said, readers: Mutex::new(readers) };
        Ok((process, connection))
    }

    /// The system's number of the process.
    pub fn id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Ends the process at once, whatever it does.
    pub fn kill(&self) {
        // It fails only where the child has ended already.
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    /// Asks the process by a signal what does not return in it. One that cannot tell ends.
    pub fn ask_why(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only where the child has ended already.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::ABORT);
    }

    /// Has the child written a report to its end, or closed what it writes to?
    pub fn has_reported(&self) -> bool {
        self.said.state.lock().unwrap_or_else(PoisonError::into_inner).complete
    }

    /// Gives the process `grace` to end by itself, ends it then, and says why it ended: its own report where it wrote one,
    /// else what its exit tells. There is none for one that ended in good order.
    pub fn end(&self, grace: Duration) -> Ended {
        let state = self.said.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.said.changed.wait_timeout_while(state, grace, |state| !state.closed));
        let mut overdue = false;
        let status = {
            let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
            match child.try_wait() {
                Ok(Some(status)) => Ok(status),
                // Its pipes are closed, so it is on its way out.
                _ if self.has_closed() && !grace.is_zero() => child.wait(),
                _ => {
                    overdue = true;
                    drop(child);
                    if !grace.is_zero() {
                        // It has had its time; what does it do?
                        self.ask_why();
                        self.wait_for_report(ANSWERS_WHY);
                    }
                    child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = child.kill();
                    child.wait()
                }
            }
        };
        for reader in self.readers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = reader.join();
        }
        Ended { overdue, ..self.said.finish(&self.driver, status.ok()) }
    }

    fn has_closed(&self) -> bool {
        self.said.state.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Waits until the child has ended by itself or has written a report, but no longer than `most`. False when it has
    /// done neither.
    pub fn wait_for_report(&self, most: Duration) -> bool {
        let state = self.said.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.said.changed.wait_timeout_while(state, most, |state| !state.complete);
        waited.is_ok_and(|(state, _)| state.complete)
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // A child that was not waited for would stay in the system's table.
        let _ = self.end(Duration::ZERO);
    }
}

impl Said {
    fn print(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.output.len() == MOST_OUTPUT {
            state.output.pop_front();
        }
        state.output.push_back(line.to_owned());
    }

    fn tell(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.report.line(line) {
            state.complete = true;
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.complete = true;
        state.closed = true;
        self.changed.notify_all();
    }

    fn finish(&self, driver: &str, status: Option<ExitStatus>) -> Ended {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut output: Vec<String> = state.output.drain(..).collect();
        let LastWords { report, leaks, remainders, said } = std::mem::take(&mut state.report).finish();
        let driver = driver.to_owned();
        let report = match report {
            Some(report) => {
                // What the process said beside its report, such as the C library about memory.
                output.extend(said);
                Some(DriverReport { driver, output, ..report })
            }
            None if status.is_some_and(|status| status.success()) => None,
            None => {
                let what = how_it_ended(status);
                let what = said.last().map_or_else(|| what.clone(), |last| format!("{what}: {last}"));
                Some(DriverReport { driver, what, output, ..DriverReport::default() })
            }
        };
        Ended { report, leaks, remainders, overdue: false }
    }
}

fn how_it_ended(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("the process was ended by signal {signal}"),
        Some((_, Some(code))) => format!("the process exited with {code}"),
        _ => "the process ended".to_owned(),
    }
}

fn reader(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}

/// The line for a terminal, which control characters could make do what a driver has no business to do.
fn harmless(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '.' } else { c }).collect()
}

/// Calls `each` for every line until the end of `pipe`; what is no UTF-8 is shown as such.
fn lines(mut pipe: impl Read, mut each: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in &chunk[..count] {
            match byte {
                b'\n' => {
                    each(String::from_utf8_lossy(&line).trim_end_matches('\r'));
                    line.clear();
                }
                byte if line.len() < MOST_LINE => line.push(byte),
                _ => {}
            }
        }
    }
    if !line.is_empty() {
        each(&String::from_utf8_lossy(&line));
    }
}

/// Why a host could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program.
    #[error("start {}: {error}", program.display())]
    Spawn {
        /// Which.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The connection to it.
    #[error("connect to the driver host: {0}")]
    Wire(#[from] WireError),
    /// A thread of this process.
    #[error("start a thread for the driver host: {0}")]
    Thread(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ReportKind;

    const GRACE: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> HostProcess {
        let command = HostCommand { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] };
        HostProcess::start(&command, &[], "test.sys", None).unwrap().0
    }

    #[test]
    fn a_host_that_ends_in_good_order_reports_nothing() {
        let host = shell("echo fine");
        assert_eq!(host.end(GRACE).report, None);
    }

    #[test]
    fn the_report_of_a_dying_host_is_kept_with_its_last_output() {
        let host = shell(
            "echo one; echo two; printf 'report fault\\nwhat read of 0x0\\nat t.sys 10\\nend\\n' >&2; kill -9 $$",
        );
        host.wait_for_report(GRACE);
        let report = host.end(GRACE).report.unwrap();
        assert_eq!((report.kind, report.what.as_str()), (ReportKind::Fault, "read of 0x0"));
        assert_eq!(report.driver, "test.sys");
        assert_eq!(report.output, ["one", "two"]);
    }

    #[test]
    fn a_host_that_says_nothing_is_told_by_its_exit() {
        let host = shell("echo 'no memory' >&2; exit 3");
        host.wait_for_report(GRACE);
        assert_eq!(host.end(GRACE).report.unwrap().what, "the process exited with 3: no memory");
        let host = shell("kill -SEGV $$");
        host.wait_for_report(GRACE);
        assert_eq!(host.end(GRACE).report.unwrap().what, "the process was ended by signal 11");
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_line() {
        let mut seen = Vec::new();
        lines(&b"short\n"[..], |line| seen.push(line.len()));
        lines(&vec![b'x'; 1 << 20][..], |line| seen.push(line.len()));
        assert_eq!(seen, [5, MOST_LINE]);
    }

    #[test]
    fn what_a_driver_prints_cannot_steer_a_terminal() {
        let host = shell("printf 'a\\033[2Jb\\tc\\n'; kill -9 $$");
        host.wait_for_report(GRACE);
        assert_eq!(host.end(GRACE).report.unwrap().output, ["a.[2Jb\tc"]);
    }

    #[test]
    fn a_signal_to_the_group_of_its_parent_does_not_reach_a_host() {
        let host = shell("cut -d ' ' -f 5 /proc/$$/stat; kill -9 $$");
        let id = host.id().to_string();
        host.wait_for_report(GRACE);
        // Its group is its own.
        assert_eq!(host.end(GRACE).report.unwrap().output, [id]);
    }

    #[test]
    fn a_host_has_no_environment() {
        // It fails, so that it has a report; the end waits for its last line.
        let host = shell("echo \"[$HOME$PATH_INFO$USER$CARGO_MANIFEST_DIR]\"; exit 1");
        assert_eq!(host.end(GRACE).report.unwrap().output, ["[]"]);
    }
}
