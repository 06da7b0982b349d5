/* What drivers read without a call, in every form of instruction: KUSER_SHARED_DATA, cr8 and gs. */
#include <ntddk.h>
#include "testing.h"

#define SHARED 0xFFFFF78000000000ULL
#define BUILD 19045u

/* A compiler must not see that the address is constant. */
static ULONG64 shared(ULONG offset)
{
    ULONG64 address = SHARED + offset;
    __asm__("" : "+r"(address));
    return address;
}

TEST(the_inline_functions_of_the_headers_work)
{
    LARGE_INTEGER time, later, ticks;
    ULONGLONG interrupt = *(volatile ULONGLONG *)SharedInterruptTime;
    time.QuadPart = *(volatile LONGLONG *)SharedSystemTime;
    later.QuadPart = *(volatile LONGLONG *)SharedSystemTime;
    ticks.QuadPart = *(volatile LONGLONG *)SharedTickCount;
    CHECK(time.QuadPart > 130000000000000000LL);
    CHECK(later.QuadPart >= time.QuadPart);
    CHECK(interrupt != 0);
    CHECK(*(volatile ULONGLONG *)SharedInterruptTime >= interrupt);
    CHECK(ticks.QuadPart <= (LONGLONG)(*(volatile ULONGLONG *)SharedInterruptTime / 156250));
    CHECK(SharedUserData->NtMajorVersion == 10 && SharedUserData->NtMinorVersion == 0);
    CHECK(SharedUserData->NtSystemRoot[0] == 'C' && SharedUserData->NtSystemRoot[9] == 's');
    CHECK(SharedUserData->ProcessorFeatures[PF_XMMI64_INSTRUCTIONS_AVAILABLE]);
    CHECK(SharedUserData->NumberOfPhysicalPages > 1000);
    CHECK(KeGetCurrentProcessorNumber() == 0);
    PASS;
}

TEST(a_time_read_in_three_parts_is_whole)
{
    int i;
    ULONG64 before = *(volatile ULONG64 *)SharedSystemTime;
    for (i = 0; i < 50; i++) {
        LONG high, high2;
        ULONG low;
        do {
            high = *(volatile LONG *)(SharedSystemTime + 4);
            low = *(volatile ULONG *)SharedSystemTime;
            high2 = *(volatile LONG *)(SharedSystemTime + 8);
        } while (high != high2);
        CHECK(((ULONG64)high << 32 | low) >= before);
        before = (ULONG64)high << 32 | low;
    }
    PASS;
}

TEST(a_move_from_an_absolute_address)
{
    ULONG64 rax;
    __asm__ volatile("movabsq 0xFFFFF78000000014, %%rax" : "=a"(rax));
    CHECK(rax > 130000000000000000ULL);
    __asm__ volatile("movq $-1, %%rax; movabsl 0xFFFFF78000000260, %%eax" : "=a"(rax));
    CHECK(rax == BUILD);
    __asm__ volatile("movq $-1, %%rax; movabsw 0xFFFFF78000000260, %%ax" : "=a"(rax));
    CHECK(rax == (0xFFFFFFFFFFFF0000ULL | BUILD));
    __asm__ volatile("movq $-1, %%rax; movabsb 0xFFFFF78000000260, %%al" : "=a"(rax));
    CHECK(rax == (0xFFFFFFFFFFFFFF00ULL | (BUILD & 0xFF)));
    PASS;
}

TEST(moves_of_every_width_into_every_kind_of_register)
{
    ULONG64 base = shared(0x260), r;
    __asm__ volatile("movq (%1), %0" : "=r"(r) : "r"(base));
    CHECK(r == (1ULL << 32 | BUILD));
    __asm__ volatile("movq $-1, %0; movl (%1), %k0" : "=&r"(r) : "r"(base));
    CHECK(r == BUILD);
    __asm__ volatile("movq $-1, %0; movw (%1), %w0" : "=&r"(r) : "r"(base));
    CHECK(r == (0xFFFFFFFFFFFF0000ULL | BUILD));
    __asm__ volatile("movq $-1, %0; movb (%1), %b0" : "=&r"(r) : "r"(base));
    CHECK(r == (0xFFFFFFFFFFFFFF00ULL | (BUILD & 0xFF)));
    __asm__ volatile("movq $-1, %%rax; movb (%1), %%ah" : "=&a"(r) : "r"(base));
    CHECK(r == (0xFFFFFFFFFFFF00FFULL | (BUILD & 0xFF) << 8));
    __asm__ volatile("movzbl (%1), %k0" : "=r"(r) : "r"(base));
    CHECK(r == (BUILD & 0xFF));
    __asm__ volatile("movzwl (%1), %k0" : "=r"(r) : "r"(base));
    CHECK(r == BUILD);
    __asm__ volatile("movzwq (%1), %0" : "=r"(r) : "r"(base));
    CHECK(r == BUILD);
    __asm__ volatile("movsbq (%1), %0" : "=r"(r) : "r"(base));
    CHECK(r == (ULONG64)(LONG64)(signed char)BUILD);
    __asm__ volatile("movswl (%1), %k0" : "=r"(r) : "r"(base - 0x260 + 0x2C));
    CHECK(r == 0xFFFF8664u);
    __asm__ volatile("movslq (%1), %0" : "=r"(r) : "r"(base));
    CHECK(r == BUILD);
    PASS;
}

TEST(a_base_that_the_instruction_itself_writes)
{
    ULONG64 r = shared(0x260);
    __asm__ volatile("movq (%0), %0" : "+r"(r));
    CHECK(r == (1ULL << 32 | BUILD));
    r = shared(0x260);
    __asm__ volatile("movl (%0), %k0" : "+r"(r));
    CHECK(r == BUILD);
    r = shared(0x260);
    __asm__ volatile("movw (%0), %w0" : "+r"(r));
    CHECK(r == (SHARED | BUILD));
    r = shared(0x260);
    __asm__ volatile("addl (%0), %k0" : "+r"(r));
    CHECK(r == 0x260 + BUILD);
    r = shared(0x260);
    __asm__ volatile("addb (%0), %b0" : "+r"(r));
    CHECK(r == (SHARED | 0x200 | ((0x60 + BUILD) & 0xFF)));
    r = shared(0x26C);
    __asm__ volatile("imull $3, (%0), %k0" : "+r"(r));
    CHECK(r == 30);
    PASS;
}

TEST(addresses_of_every_form)
{
    ULONG64 r, base = shared(0), offset = 0x260, quarter = 0x98;
    __asm__ volatile("movl 0x260(%1), %k0" : "=r"(r) : "r"(base));
    CHECK(r == BUILD);
    __asm__ volatile("movl (%1,%2), %k0" : "=r"(r) : "r"(base), "r"(offset));
    CHECK(r == BUILD);
    __asm__ volatile("movl (%2,%1), %k0" : "=r"(r) : "r"(base), "r"(offset));
    CHECK(r == BUILD);
    __asm__ volatile("movl (%1,%2,4), %k0" : "=r"(r) : "r"(base), "r"(quarter));
    CHECK(r == BUILD);
    __asm__ volatile("xorl %k0, %k0; addl -8(%2,%1), %k0" : "=&r"(r) : "r"(base), "r"(offset + 8));
    CHECK(r == BUILD);
    __asm__ volatile("xorl %k0, %k0; addl (%1,%2,4), %k0" : "=&r"(r) : "r"(base), "r"(quarter));
    CHECK(r == BUILD);
    CHECK(base == SHARED);
    PASS;
}

TEST(arithmetic_with_a_memory_operand_and_its_flags)
{
    ULONG64 base = shared(0x260), r;
    UCHAR equal, below, sign;
    __asm__ volatile("cmpl $19045, (%3); setz %0; setb %1; sets %2" : "=q"(equal), "=q"(below), "=q"(sign) : "r"(base));
    CHECK(equal && !below && !sign);
    __asm__ volatile("cmpl %k3, (%2); setz %0; setb %1" : "=q"(equal), "=q"(below) : "r"(base), "r"(20000));
    CHECK(!equal && below);
    __asm__ volatile("cmpl (%2), %k3; setz %0; setb %1" : "=q"(equal), "=q"(below) : "r"(base), "r"(20000));
    CHECK(!equal && !below);
    __asm__ volatile("testb $1, (%1); setz %0" : "=q"(equal) : "r"(base));
    CHECK(!equal);
    r = 5;
    __asm__ volatile("addl (%1), %k0" : "+r"(r) : "r"(base));
    CHECK(r == BUILD + 5);
    __asm__ volatile("subl (%1), %k0" : "+r"(r) : "r"(base));
    CHECK(r == 5);
    __asm__ volatile("orl (%1), %k0; andl (%1), %k0; xorl (%1), %k0" : "+r"(r) : "r"(base));
    CHECK(r == 0);
    __asm__ volatile("stc; adcl (%1), %k0" : "+r"(r) : "r"(base));
    CHECK(r == BUILD + 1);
    __asm__ volatile("bsfl (%1), %k0" : "=r"(r) : "r"(base));
    CHECK(r == 0);
    __asm__ volatile("movl $2, %%eax; mull (%1)" : "=&a"(r) : "r"(base) : "rdx");
    CHECK(r == 2 * BUILD);
    __asm__ volatile("cmpb %b0, %b0; cmovnel (%1), %k0" : "+r"(r) : "r"(base));
    CHECK(r == 2 * BUILD);
    __asm__ volatile("pushq (%1); popq %0" : "=r"(r) : "r"(base));
    CHECK(r == (1ULL << 32 | BUILD));
    CHECK(base == SHARED + 0x260);
    PASS;
}

TEST(vector_loads)
{
    ULONG64 base = shared(0x260), r;
    ULONG words[4];
    __asm__ volatile("movd (%1), %%xmm0; movd %%xmm0, %k0" : "=r"(r) : "r"(base) : "xmm0");
    CHECK(r == BUILD);
    __asm__ volatile("movq (%1), %%xmm1; movq %%xmm1, %0" : "=r"(r) : "r"(base) : "xmm1");
    CHECK(r == (1ULL << 32 | BUILD));
    __asm__ volatile("movdqu (%0), %%xmm2; movdqu %%xmm2, %1" : : "r"(base), "m"(words) : "xmm2", "memory");
    CHECK(words[0] == BUILD && words[1] == 1 && words[3] == 10);
    __asm__ volatile("movaps (%0), %%xmm2; movups %%xmm2, %1" : : "r"(base), "m"(words) : "xmm2", "memory");
    CHECK(words[0] == BUILD && words[3] == 10);
    __asm__ volatile("pxor %%xmm3, %%xmm3; paddd (%0), %%xmm3; movdqu %%xmm3, %1" : : "r"(base), "m"(words) : "xmm3", "memory");
    CHECK(words[0] == BUILD && words[3] == 10);
    __asm__ volatile("cvtsi2sdl (%1), %%xmm4; cvttsd2si %%xmm4, %k0" : "=r"(r) : "r"(base) : "xmm4");
    CHECK(r == BUILD);
    PASS;
}

TEST(string_instructions_move_their_pointers_on)
{
    WCHAR root[12];
    ULONG64 from = shared(0x30), to = (ULONG64)root, count = 10, r;
    __asm__ volatile("rep movsw" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    CHECK(count == 0 && from == SHARED + 0x30 + 20 && to == (ULONG64)root + 20);
    CHECK(root[0] == 'C' && root[3] == 'W' && root[9] == 's');
    from = shared(0x260);
    __asm__ volatile("lodsl" : "+S"(from), "=a"(r));
    CHECK((ULONG)r == BUILD && from == SHARED + 0x264);
    to = shared(0x260);
    count = 100;
    __asm__ volatile("xorl %%eax, %%eax; repne scasb" : "+D"(to), "+c"(count) : : "rax", "cc");
    CHECK(to == SHARED + 0x263);
    PASS;
}

TEST(a_copy_by_the_kernel_reads_the_page_too)
{
    WCHAR root[12];
    RtlCopyMemory(root, (PVOID)shared(0x30), sizeof root);
    CHECK(root[0] == 'C' && root[9] == 's' && root[10] == 0);
    PASS;
}

TEST(cr8_is_the_level)
{
    ULONG64 level;
    __asm__ volatile("movq %%cr8, %0" : "=r"(level));
    CHECK(level == 0);
    __asm__ volatile("movq %0, %%cr8" : : "r"(2ULL));
    __asm__ volatile("movq %%cr8, %%r13; movq %%r13, %0" : "=r"(level) : : "r13");
    CHECK(level == 2);
    __asm__ volatile("movq %0, %%cr8" : : "r"(0ULL));
    __asm__ volatile("movq %%cr8, %0" : "=r"(level));
    CHECK(level == 0);
    PASS;
}

TEST(gs_has_the_processor_and_the_thread)
{
    PKPCR pcr = KeGetPcr();
    ULONG64 thread, again;
    CHECK(pcr != NULL && pcr->Self == pcr);
    CHECK((PUCHAR)pcr->CurrentPrcb == (PUCHAR)pcr + 0x180);
    __asm__ volatile("movq %%gs:0x188, %0" : "=r"(thread));
    __asm__ volatile("movq 0x188(%1), %0" : "=r"(again) : "r"(pcr));
    CHECK(thread != 0 && thread == again);
    PASS;
}

/* What follows faults; each is called in a process of its own. */

__declspec(dllexport) void fault_write_null(void);
void fault_write_null(void) { __asm__ volatile("movl $1, (%0)" : : "r"(0x10ULL)); }

__declspec(dllexport) void fault_read_wild(void);
void fault_read_wild(void) { __asm__ volatile("movl (%0), %%eax" : : "r"(0x0123456789ABCDEFULL) : "rax"); }

__declspec(dllexport) void fault_call_null(void);
void fault_call_null(void) { __asm__ volatile("call *%0" : : "r"(0ULL)); }

__declspec(dllexport) void fault_breakpoint(void);
void fault_breakpoint(void) { __asm__ volatile("int3"); }

__declspec(dllexport) void fault_fast_fail(void);
void fault_fast_fail(void) { __asm__ volatile("movl $7, %%ecx; int $0x29" : : : "rcx"); }

__declspec(dllexport) void fault_illegal(void);
void fault_illegal(void) { __asm__ volatile("ud2"); }

__declspec(dllexport) void fault_divide(void);
void fault_divide(void) { __asm__ volatile("xorl %%ecx, %%ecx; movl $1, %%eax; cltd; idivl %%ecx" : : : "rax", "rcx", "rdx"); }

__declspec(dllexport) void fault_hlt(void);
void fault_hlt(void) { __asm__ volatile("hlt"); }

__declspec(dllexport) void fault_port(void);
void fault_port(void) { __asm__ volatile("movl $0x60, %%edx; inb %%dx, %%al" : : : "rax", "rdx"); }

__declspec(dllexport) void fault_cr3(void);
void fault_cr3(void) { __asm__ volatile("movq %%cr3, %%rax" : : : "rax"); }

__declspec(dllexport) void fault_shared_write(void);
void fault_shared_write(void) { __asm__ volatile("incl (%0)" : : "r"(shared(0x260))); }

__declspec(dllexport) void fault_shared_end(void);
void fault_shared_end(void) { __asm__ volatile("movdqu (%0), %%xmm0" : : "r"(shared(0xFF8)) : "xmm0"); }

__declspec(dllexport) void fault_in_kernel(void);
void fault_in_kernel(void) { RtlFillMemory((PVOID)0x20, 64, 1); __asm__ volatile(""); }

__declspec(dllexport) void fault_code_write(void);
void fault_code_write(void) { *(volatile UCHAR *)(ULONG_PTR)fault_hlt = 0; }

__declspec(dllexport) ULONG fault_stack(ULONG depth);
ULONG fault_stack(ULONG depth)
{
    volatile ULONG room[1000];
    room[depth % 1000] = depth;
    return (room[0] == 0xFFFFFFFF ? 0 : fault_stack(depth + 1)) + room[(depth + 1) % 1000];
}
