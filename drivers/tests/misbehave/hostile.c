/*
 * Tries what a driver has no business to do, by system calls of the host's own kernel: an attacker's driver. Item N of
 * its property does act N and answers with what the call returned: a negative number for a refusal.
 */
#include "bytes.h"

/* {2F8D2A10-6C35-4E0E-8A2B-0D5F2C3B7E14} */
static const GUID HostileSet = {0x2f8d2a10, 0x6c35, 0x4e0e, {0x8a, 0x2b, 0x0d, 0x5f, 0x2c, 0x3b, 0x7e, 0x14}};

static LONGLONG Call(LONGLONG number, LONGLONG a, LONGLONG b, LONGLONG c, LONGLONG d, LONGLONG e, LONGLONG f)
{
    register LONGLONG r10 __asm__("r10") = d;
    register LONGLONG r8 __asm__("r8") = e;
    register LONGLONG r9 __asm__("r9") = f;
    LONGLONG result;
    __asm__ volatile("syscall"
                     : "=a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

#define P(x) ((LONGLONG)(ULONG_PTR)(x))

static LONGLONG Act(ULONG act)
{
    static const CHAR passwd[] = "/etc/passwd", made[] = "/tmp/userks-hostile", shell[] = "/bin/true", root[] = "/";
    static const CHAR linked[] = "/tmp/userks-hostile-link", name[] = "x";
    static const CHAR *const arguments[] = {shell, NULL};
    UCHAR address[16] = {2, 0, 0, 9, 127, 0, 0, 1};
    ULONGLONG words[8] = {0};
    LONGLONG result;

    switch (act) {
    case 0: /* open(2) to read */
        return Call(2, P(passwd), 0, 0, 0, 0, 0);
    case 1: /* openat(2) to create */
        return Call(257, -100, P(made), 0102, 0600, 0, 0);
    case 2: /* openat2(2) */
        return Call(437, -100, P(passwd), P(words), 24, 0, 0);
    case 3: /* creat(2) */
        return Call(85, P(made), 0600, 0, 0, 0, 0);
    case 4: /* unlink(2): of a name that may not be there, which is refused in another way */
        Call(85, P(made), 0600, 0, 0, 0, 0);
        return Call(87, P(made), 0, 0, 0, 0, 0);
    case 5: /* mkdir(2) */
        result = Call(83, P(linked), 0700, 0, 0, 0, 0);
        if (result == 0)
            Call(84, P(linked), 0, 0, 0, 0, 0);
        return result;
    case 6: /* symlink(2) */
        result = Call(88, P(passwd), P(linked), 0, 0, 0, 0);
        if (result == 0)
            Call(87, P(linked), 0, 0, 0, 0, 0);
        return result;
    case 7: /* chdir(2) */
        return Call(80, P(root), 0, 0, 0, 0, 0);
    case 8: /* stat(2) */
        return Call(4, P(passwd), P(words) - 512, 0, 0, 0, 0) == -14 ? 0 : Call(21, P(passwd), 4, 0, 0, 0, 0);
    case 9: /* readlink(2) */
        return Call(89, P("/proc/self/exe"), P(words), sizeof(words), 0, 0, 0);
    case 10: /* socket(2), IPv4 stream */
        return Call(41, 2, 1, 0, 0, 0, 0);
    case 11: /* socket(2), IPv4 datagram */
        return Call(41, 2, 2, 0, 0, 0, 0);
    case 12: /* socket(2), local */
        return Call(41, 1, 1, 0, 0, 0, 0);
    case 13: /* socketpair(2) */
        return Call(53, 1, 1, 0, P(words), 0, 0);
    case 14: /* connect(2) on whatever descriptor a socket got */
        result = Call(41, 2, 2, 0, 0, 0, 0);
        return result < 0 ? result : Call(42, result, P(address), 16, 0, 0, 0);
    case 15: /* execve(2), in a child so that the host lives on where it is allowed */
        result = Call(58, 0, 0, 0, 0, 0, 0);
        if (result == 0) {
            Call(59, P(shell), P(arguments), 0, 0, 0, 0);
            Call(60, 1, 0, 0, 0, 0, 0);
        }
        return result;
    case 16: /* fork(2) */
        result = Call(57, 0, 0, 0, 0, 0, 0);
        if (result == 0)
            Call(231, 0, 0, 0, 0, 0, 0);
        return result;
    case 17: /* clone(2) of a process */
        result = Call(56, 17, 0, 0, 0, 0, 0);
        if (result == 0)
            Call(231, 0, 0, 0, 0, 0, 0);
        return result;
    case 18: /* kill(2) of the parent, with no signal */
        return Call(62, Call(110, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0);
    case 19: /* ptrace(2), PTRACE_PEEKDATA of nobody: a traced host could not be waited for. ESRCH is from inside of it */
        result = Call(101, 2, 0, 0, 0, 0, 0);
        return result == -3 ? 0 : result;
    case 20: /* process_vm_readv(2) of the parent */
        words[0] = P(words + 4);
        words[1] = 8;
        words[2] = P(words + 4);
        words[3] = 8;
        return Call(310, Call(110, 0, 0, 0, 0, 0, 0), P(words), 1, P(words + 2), 1, 0);
    case 21: /* mmap(2) of an executable page */
        return Call(9, 0, 4096, 5, 0x22, -1, 0);
    case 22: /* mprotect(2) of a stack page to executable */
        return Call(10, P(words) & ~4095LL, 4096, 7, 0, 0, 0);
    case 23: /* personality(2): read implies execute */
        return Call(135, 0x0400000, 0, 0, 0, 0, 0);
    case 24: /* setuid(2) to the present user */
        return Call(105, Call(102, 0, 0, 0, 0, 0, 0), 0, 0, 0, 0, 0);
    case 25: /* unshare(2) of the file system table */
        return Call(272, 0x200, 0, 0, 0, 0, 0);
    case 26: /* setrlimit(2): the size of files, as it is */
        if (Call(97, 1, P(words), 0, 0, 0, 0) < 0)
            return -1;
        return Call(160, 1, P(words), 0, 0, 0, 0);
    case 27: /* io_uring_setup(2) */
        return Call(425, 1, P(words) - 512, 0, 0, 0, 0);
    case 28: /* bpf(2) */
        return Call(321, 0, P(words), sizeof(words), 0, 0, 0);
    case 29: /* perf_event_open(2) */
        return Call(298, P(words), 0, -1, -1, 0, 0);
    case 30: /* keyctl(2): the session's keyring */
        return Call(250, 0, -3, 0, 0, 0, 0);
    case 31: /* userfaultfd(2) */
        return Call(323, 1, 0, 0, 0, 0, 0);
    case 32: /* sched_setscheduler(2) to the usual policy */
        return Call(144, 0, 0, P(words), 0, 0, 0);
    case 33: /* dup(2) of the standard output */
        return Call(32, 1, 0, 0, 0, 0, 0);
    case 34: /* inotify_init1(2) */
        return Call(294, 0, 0, 0, 0, 0, 0);
    case 35: /* name_to_handle_at(2) of the root */
        return Call(303, -100, P(root), P(words), P(words + 6), 0, 0);
    default:
        return Call(39, P(name), 0, 0, 0, 0, 0);
    }
}

static NTSTATUS OnAct(PIRP Irp, PKSIDENTIFIER Request, PVOID Data)
{
    *(LONGLONG *)Data = Act(Request->Id);
    Irp->IoStatus.Information = sizeof(LONGLONG);
    return STATUS_SUCCESS;
}

#define ITEM(id) DEFINE_KSPROPERTY_ITEM(id, OnAct, sizeof(KSPROPERTY), sizeof(LONGLONG), NULL, NULL, 0, NULL, NULL, 0)
#define TEN(x) ITEM(x), ITEM(x + 1), ITEM(x + 2), ITEM(x + 3), ITEM(x + 4), ITEM(x + 5), ITEM(x + 6), ITEM(x + 7), \
    ITEM(x + 8), ITEM(x + 9)
static const KSPROPERTY_ITEM Properties[] = {TEN(0), TEN(10), TEN(20), ITEM(30), ITEM(31), ITEM(32), ITEM(33), ITEM(34),
                                             ITEM(35), ITEM(36)};
#include "misbehave.h"
MISBEHAVING_DRIVER(HostileSet, 0x14)
