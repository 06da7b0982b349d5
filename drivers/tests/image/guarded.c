/*
 * An image as Microsoft's tools make it, built by clang and lld-link: a security cookie that the entry point sets up,
 * control-flow guard pointers behind a load configuration, the import table in read-only memory, code in several
 * sections, one of them INIT. It includes no header: those of mingw are not for this compiler.
 */
typedef unsigned long long u64;
typedef unsigned int u32;

__declspec(dllimport) void *MmGetSystemRoutineAddress(void *name);

#define IN(name) __attribute__((section(name), noinline))
#define EXPORT __declspec(dllexport)

/* Stack cookie, as /GS has it. */
u64 __security_cookie = 0x00002B992DDFA232ULL;
u64 __security_cookie_complement = ~0x00002B992DDFA232ULL;
static u32 smashed;

void __security_check_cookie(u64 cookie)
{
    if (cookie != __security_cookie)
        smashed++;
}

/* Control-flow guard: what the compiler calls before, or instead of, an indirect call. */
static void guard_check(void *target)
{
    (void)target;
}

__attribute__((naked)) static void guard_dispatch(void)
{
    __asm__("jmp *%rax");
}

#pragma section(".00cfg", read)
__declspec(allocate(".00cfg")) const void *__guard_check_icall_fptr = (void *)guard_check;
__declspec(allocate(".00cfg")) const void *__guard_dispatch_icall_fptr = (void *)guard_dispatch;

extern char __guard_fids_table[], __guard_fids_count[], __guard_flags[];

/* IMAGE_LOAD_CONFIG_DIRECTORY64, as far as the guard's flags. */
struct load_config {
    u32 size, time;
    unsigned short major, minor;
    u32 global_clear, global_set, critical_timeout;
    u64 decommit_free, decommit_total, lock_prefix, maximum_allocation, memory_threshold, affinity;
    u32 heap_flags;
    unsigned short csd_version, dependent_load_flags;
    u64 edit_list;
    const void *security_cookie;
    u64 handlers, handler_count;
    const void *guard_check, *guard_dispatch;
    const void *guard_table, *guard_count;
    u32 guard_flags;
    u32 rest[27];
};

const struct load_config _load_config_used = {
    .size = sizeof(struct load_config),
    .security_cookie = &__security_cookie,
    .guard_check = &__guard_check_icall_fptr,
    .guard_dispatch = &__guard_dispatch_icall_fptr,
    .guard_table = __guard_fids_table,
    .guard_count = __guard_fids_count,
    .guard_flags = 0x100,
};

static u64 (*volatile indirect)(u64);

IN("PAGE") static u64 paged(u64 value)
{
    return value + 1;
}

IN("INIT") static void initialise(void)
{
    indirect = paged;
}

EXPORT u64 call_indirectly(u64 value)
{
    return indirect ? indirect(value) : 0;
}

/* Has a buffer on the stack, hence a cookie. */
EXPORT u64 sum(const unsigned char *bytes, u64 count)
{
    volatile unsigned char copy[64];
    u64 i, total = 0;
    for (i = 0; i < count && i < sizeof copy; i++)
        copy[i] = bytes[i];
    for (i = 0; i < count && i < sizeof copy; i++)
        total += copy[i];
    return total;
}

EXPORT u64 smashed_stacks(void)
{
    return smashed;
}

EXPORT u64 cookie(void)
{
    return __security_cookie;
}

EXPORT u64 routine(void)
{
    return (u64)MmGetSystemRoutineAddress(0);
}

EXPORT const void *guard_pointer(void)
{
    return __guard_check_icall_fptr;
}

EXPORT const void *guard_routine(void)
{
    return (const void *)guard_check;
}

__attribute__((used)) u32 DriverEntry(void *driver, void *path)
{
    (void)driver;
    (void)path;
    initialise();
    return 0;
}

/* The entry point of the image. */
u32 GsDriverEntry(void *driver, void *path)
{
    u64 seed = *(volatile u64 *)0xFFFFF78000000320ULL ^ *(volatile u64 *)0xFFFFF78000000014ULL ^ (u64)&__security_cookie;
    __security_cookie = (seed & 0x0000FFFFFFFFFFFFULL) | 1;
    __security_cookie_complement = ~__security_cookie;
    return DriverEntry(driver, path);
}
