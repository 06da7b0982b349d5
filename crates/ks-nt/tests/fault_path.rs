//! A driver faults where its thread is inside of the allocator, with the lock of the pool held: the report is whole, and
//! nothing of it was allocated.
//!
//! This program is the driver host too. Its allocator has a lock of its own, and faults with it held when a driver asks for
//! a block of a certain size.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ks_abi::{Guid, IoControlCode, KSPROPERTY_TYPE_GET, KsProperty, STATUS_DEVICE_REMOVED};
use ks_broker::driver_host::{self, Imports, Sandbox, Verifier};
use ks_broker::drivers::{self, DriverHost, Hosting};
use ks_broker::host_process::HostCommand;
use ks_broker::report::{DriverReport, ReportKind};
use ks_client::Client;
use ks_io::{IoManager, Services};
use zerocopy::IntoBytes;

const HOST: &str = "driver-host";

/// The size that faults, as the driver has it, and the one from which on the next block of another size does.
const FAULTS: usize = 0xFA170;
const FAULTS_NEXT: usize = 0xFA00;

struct FaultingAllocator;

#[global_allocator]
static ALLOCATOR: FaultingAllocator = FaultingAllocator;

/// As an allocator has it: a thread that asks again while it is inside waits for itself.
static LOCK: Mutex<()> = Mutex::new(());
/// The thread that faulted; 0 before.
static FAULTED: AtomicU64 = AtomicU64::new(0);
/// The thread whose next block of another size faults.
static ARMED: AtomicU64 = AtomicU64::new(0);
/// Set in the host: the other side allocates as it likes.
static IS_HOST: AtomicU32 = AtomicU32::new(0);

fn thread() -> u64 {
    // SAFETY: takes no argument.
    unsafe { libc::gettid() as u64 }
}

/// Comes back unless this is the block to fault at.
fn enter(bytes: usize) {
    if IS_HOST.load(Ordering::Relaxed) == 0 {
        return;
    }
    let me = thread();
    if FAULTED.load(Ordering::Acquire) == me {
        complain(b"what the fault path used the allocator\nend\n");
        // SAFETY: ends the process.
        unsafe { libc::_exit(1) };
    }
    let _inside = LOCK.lock();
    let is_armed = ARMED.load(Ordering::Acquire) == me;
    if bytes == FAULTS || is_armed && bytes != FAULTS_NEXT {
        FAULTED.store(me, Ordering::Release);
        // SAFETY: it is not: the fault is wanted, with the lock held.
        unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
    }
    if bytes == FAULTS_NEXT {
        ARMED.store(me, Ordering::Release);
    }
}

fn complain(text: &[u8]) {
    // SAFETY: writes the bytes of `text`.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
}

// SAFETY: memory comes from `System` and goes back to it, with the arguments that came.
unsafe impl GlobalAlloc for FaultingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        enter(layout.size());
        // SAFETY: the caller promises a layout that is not empty, as `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        enter(0);
        // SAFETY: `memory` came from `System` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == HOST) {
        let plan = drivers::plan_of(arguments).expect("the arguments of a host");
        IS_HOST.store(1, Ordering::Relaxed);
        return ExitCode::from(driver_host::run(&plan));
    }
    let tests: [(&str, fn()); 2] = [
        ("a_fault_inside_of_the_allocator_is_reported_whole", a_fault_inside_of_the_allocator_is_reported_whole),
        ("a_fault_under_the_lock_of_the_pool_is_reported_whole", a_fault_under_the_lock_of_the_pool_is_reported_whole),
    ];
    // A test that fails panics. The rest is what the test runner prints, which counts what ran.
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!("test result: ok. {} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", tests.len());
    ExitCode::SUCCESS
}

fn a_fault_inside_of_the_allocator_is_reported_whole() {
    let report = report_of(0);
    assert_whole(&report, "AllocateOne");
}

fn a_fault_under_the_lock_of_the_pool_is_reported_whole() {
    let report = report_of(1);
    assert_whole(&report, "AllocateMany");
}

/// The set of `drivers/tests/misbehave/allocates.c`.
const SET: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e15);

fn report_of(item: u32) -> DriverReport {
    let io = IoManager::new(Services::real());
    let client = Client::new(io.session());
    let arguments: Vec<OsString> = vec![HOST.into()];
    let hosting = Hosting {
        command: HostCommand { program: std::env::current_exe().expect("this program"), arguments },
        imports: Imports::Strict,
        sandbox: Sandbox::On,
        verifier: Verifier::On,
        files: None,
        // A reporter that waits for a lock of its own thread is ended by it.
        watchdog: Some(drivers::WATCHDOG),
        output: None,
    };
    let driver = support::build(&["--symbols", "-w"], &["misbehave/allocates.c"]);
    let host = DriverHost::start(&io, &hosting, &[driver]).expect("a host");
    let link = client.interfaces(None).into_iter().find(|one| host.devices().contains(&one.device)).expect("a filter");
    let filter = client.open(&link.symbolic_link).expect("the filter");
    let request = KsProperty::new(SET, item, KSPROPERTY_TYPE_GET);
    let outcome = filter.object().control(IoControlCode::KS_PROPERTY, request.as_bytes(), &mut []);
    assert_eq!(outcome.status, STATUS_DEVICE_REMOVED);
    drop(filter);
    host.stop().report.expect("a report")
}

#[track_caller]
fn assert_whole(report: &DriverReport, caller: &str) {
    assert_eq!((report.kind, report.what.as_str()), (ReportKind::Fault, "access violation, write to 0x8"), "{report}");
    let symbol = report.called_from.as_ref().and_then(|place| place.symbol.as_deref());
    assert!(symbol.is_some_and(|symbol| symbol.starts_with(caller)), "{report}");
    assert!(report.request.as_deref().is_some_and(|request| request.contains("2F8D2A10")), "{report}");
    assert!(report.level.is_some() && report.thread.is_some() && !report.registers.is_empty(), "{report}");
    // The last line of a report but its end: nothing stopped it before.
    let last = report.events.last().expect("events");
    assert!(last.contains("property"), "{report}");
}
