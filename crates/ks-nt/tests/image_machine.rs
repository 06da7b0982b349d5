//! What drivers read without a call, and what becomes of their faults.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use ks_nt::image::Options;
use ks_nt::machine;
use support::{Driver, Extra};

extern "win64" fn copy(to: *mut u8, from: *const u8, bytes: usize) -> *mut u8 {
    // SAFETY: the driver of this test gives what it has; a wrong address is what is tested.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
    to
}

extern "win64" fn fill(to: *mut u8, value: i32, bytes: usize) -> *mut u8 {
    // SAFETY: as above.
    unsafe { std::ptr::write_bytes(to, value as u8, bytes) };
    to
}

fn driver() -> Driver {
    const EXTRA: &[Extra] = &[
        ("memcpy", copy as *const ()),
        ("RtlCopyMemory", copy as *const ()),
        ("memset", fill as *const ()),
        ("RtlFillMemory", fill as *const ()),
    ];
    Driver::with("image/machine.c", EXTRA, Options::default())
}

#[test]
fn what_a_driver_reads_without_a_call_is_answered() {
    driver().run_all_tests();
}

/// Runs `body`, named `name`, in a process of its own and returns what that printed. The test of that name must call
/// this first and nothing else.
fn in_child(name: &str, what: &str, body: impl Fn(&str)) -> Option<String> {
    const WHAT: &str = "USERKS_TEST_CHILD";
    if let Ok(what) = std::env::var(WHAT) {
        body(&what);
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(WHAT, what);
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{what}: {status}, {said}");
    Some(said)
}

#[test]
fn a_fault_of_a_driver_is_reported_with_its_place_and_cause() {
    let faults = [
        ("fault_write_null", "access violation, write to 0x10"),
        ("fault_read_wild", "access violation, read of 0x123456789abcdef"),
        ("fault_call_null", "access violation, call of 0x0, called from image-machine.sys+0x"),
        ("fault_breakpoint", "breakpoint (int3)"),
        ("fault_fast_fail", "fast fail, code 7"),
        ("fault_illegal", "illegal instruction"),
        ("fault_divide", "division by zero"),
        ("fault_hlt", "instruction 'hlt' is for hardware"),
        ("fault_port", "instruction 'in' is for hardware"),
        ("fault_cr3", "instruction 'mov from a control register' is for hardware"),
        ("fault_shared_write", "write to KUSER_SHARED_DATA at 0xfffff78000000260"),
        ("fault_shared_end", "read of KUSER_SHARED_DATA at 0xfffff78000001000"),
        ("fault_in_kernel", "access violation, write to 0x20, called from image-machine.sys+0x"),
        ("fault_code_write", "access violation, write to 0x14000"),
        ("fault_stack", "stack overflow, all "),
    ];
    for (routine, expected) in faults {
        let name = "a_fault_of_a_driver_is_reported_with_its_place_and_cause";
        let said = in_child(name, routine, |routine| {
            driver().call(routine, [0; 4]);
            unreachable!("{routine} came back");
        });
        let Some(said) = said else { return };
        assert!(said.contains(expected), "{routine}: {said}");
        assert!(said.contains("machine.sys+0x") && said.contains("level 0\nrax "), "{routine}: {said}");
    }
}

#[test]
fn a_fault_goes_to_the_registered_reporter_with_the_level() {
    fn tell(fault: &machine::Fault) -> ! {
        let (name, offset) = fault.at.in_image().unwrap();
        eprintln!("told: {name} {} {:?} {}", offset > 0x1000, fault.kind, fault.irql);
        std::process::abort()
    }
    let said = in_child("a_fault_goes_to_the_registered_reporter_with_the_level", "reporter", |_| {
        let driver = driver();
        machine::set_fault_reporter(tell);
        let _raised = ks_io::Level::Dispatch.raise();
        driver.call("fault_illegal", [0; 4]);
    });
    assert!(said.is_none_or(|said| said.contains("told: image-machine.sys true IllegalInstruction 2")));
}

#[test]
fn a_fault_outside_of_every_driver_goes_to_the_former_handler() {
    extern "C" fn former(_signal: i32) {
        eprintln!("the former handler");
        std::process::abort();
    }
    let said = in_child("a_fault_outside_of_every_driver_goes_to_the_former_handler", "former", |_| {
        // SAFETY: the handler only ends the process.
        unsafe { libc::signal(libc::SIGSEGV, former as *const () as usize) };
        machine::enter_thread();
        // SAFETY: it is not: the fault is wanted.
        unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
    });
    assert!(said.is_none_or(|said| said.contains("the former handler")));
}

#[test]
fn several_threads_read_at_once() {
    let driver = driver();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| driver.run_all_tests()));
        }
    });
}
