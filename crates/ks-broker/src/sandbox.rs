//! The sandbox of a driver host: what its process can still do once the image is mapped.
//!
//! A driver is native code that can execute any instruction, the one for system calls included. The host needs few of
//! them after its start: it reads and writes descriptors that it has, waits, maps memory without execution, and runs
//! threads. Everything else is refused with EPERM by a filter of system calls; the file system and the network are
//! closed by Landlock as well, where the kernel has it; limits bound what is left.
//!
//! Nothing of it can be undone by the process.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetStatus,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Why a process could not be confined. It must not go on then.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The filter of system calls.
    #[error("install the filter of system calls: {0}")]
    Filter(String),
    /// A limit.
    #[error("limit {what}: {error}")]
    Limit {
        /// What was to be limited.
        what: &'static str,
        /// Why it failed.
        error: rustix::io::Errno,
    },
    /// Landlock refused for another reason than that the kernel lacks it.
    #[error("close the file system and the network: {0}")]
    Landlock(String),
}

/// How much a driver host may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of address space: image, pool, stacks, frames.
    pub address_space_bytes: u64,
    /// Descriptors, those of the start included.
    pub descriptors: u64,
    /// Bytes of one memory file: frames that are shared.
    pub memory_file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { address_space_bytes: 16 << 30, descriptors: 256, memory_file_bytes: 2 << 30 }
    }
}

/// What the kernel gave of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// Landlock closes the file system and, from its fourth version on, the network. Without it the filter of system
    /// calls, which knows no call that opens anything, stands alone.
    pub landlock: bool,
}

/// Confines this process, all of its threads, for good.
pub fn confine(limits: Limits) -> Result<Confined, SandboxError> {
    limit(limits)?;
    let landlock = close_file_system_and_network()?;
    // Of two filters the stricter answer counts, so the second allows what the first one answers.
    for filter in [no_clone3(), system_calls()] {
        let filter = filter.map_err(|error| SandboxError::Filter(error.to_string()))?;
        seccompiler::apply_filter_all_threads(&filter).map_err(|error| SandboxError::Filter(error.to_string()))?;
    }
    Ok(Confined { landlock })
}

fn limit(limits: Limits) -> Result<(), SandboxError> {
    let each = [
        ("the address space", Resource::As, limits.address_space_bytes),
        ("descriptors", Resource::Nofile, limits.descriptors),
        ("the size of files", Resource::Fsize, limits.memory_file_bytes),
        ("core files", Resource::Core, 0),
    ];
    for (what, resource, bytes) in each {
        let rlimit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        setrlimit(resource, rlimit).map_err(|error| SandboxError::Limit { what, error })?;
    }
    Ok(())
}

/// True when the kernel does it.
fn close_file_system_and_network() -> Result<bool, SandboxError> {
    let failed = |error: landlock::RulesetError| SandboxError::Landlock(error.to_string());
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))
        .map_err(failed)?
        .handle_access(AccessNet::from_all(ABI::V5))
        .map_err(failed)?
        .create()
        .map_err(failed)?
        .restrict_self()
        .map_err(failed)?;
    Ok(restricted.ruleset != RulesetStatus::NotEnforced)
}

/// System calls that are allowed whatever their arguments.
const ALLOWED: &[i64] = &[
    // Descriptors that are there.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    // Frames that are shared.
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    // Waiting and time.
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_restart_syscall,
    // Threads and their signals.
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrandom,
];

/// The C library starts a thread by `clone` only where `clone3` does not exist; a filter cannot see the flags of the
/// latter.
fn no_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, absent, TargetArch::x86_64)?.try_into()
}

fn system_calls() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    // No new executable page, by whatever way.
    let not_executable = without(2, libc::PROT_EXEC as u64)?;
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable.clone()])?]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable])?]);
    // A thread of this process, never a process.
    let thread = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let mask = flags(thread | namespaces);
    let is_thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), flags(thread))?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![is_thread])?]);
    // A signal only to this process: its own end by abort.
    let own = u64::from(std::process::id());
    let to_self = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_self])?]);
    // Descriptor flags and seals; no duplicate that outgrows, no owner, no lease.
    let commands = [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_ADD_SEALS, libc::F_GET_SEALS];
    let commands = commands.iter().map(|&command| one_of(1, command.cast_unsigned().into()));
    rules.insert(libc::SYS_fcntl, commands.collect::<Result<_, _>>()?);
    // The base of gs, which each thread that runs driver code sets.
    rules.insert(libc::SYS_arch_prctl, vec![one_of(0, ARCH_SET_GS)?, one_of(0, ARCH_GET_GS)?]);
    // The names of threads.
    rules.insert(libc::SYS_prctl, vec![one_of(0, flags(libc::PR_SET_NAME))?, one_of(0, PR_SET_VMA)?]);
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_GET_GS: u64 = 0x1004;
const PR_SET_VMA: u64 = 0x5356_4d41;

fn flags(bits: libc::c_int) -> u64 {
    u64::from(bits.cast_unsigned())
}

fn without(argument: u8, bits: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(bits), 0)
}

fn one_of(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?])
}
