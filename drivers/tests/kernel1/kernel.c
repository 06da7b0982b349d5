/* The clock, floating point, the stack, and the rest. */
#include "kernel1.h"

#undef KeQuerySystemTime
#undef KeQueryTickCount
#undef KeQueryInterruptTime
#undef KeFlushIoBuffers
FIND(VOID, KeQuerySystemTime, (PLARGE_INTEGER))
FIND(VOID, KeQuerySystemTimePrecise, (PLARGE_INTEGER))
FIND(ULONGLONG, KeQueryInterruptTime, (void))
FIND(ULONGLONG, KeQueryInterruptTimePrecise, (PULONG64))
FIND(VOID, KeQueryTickCount, (PLARGE_INTEGER))
FIND(ULONGLONG, KeQueryUnbiasedInterruptTimePrecise, (PULONG64))
IMPORT(NTSTATUS, KeSaveFloatingPointState, (PVOID))
IMPORT(NTSTATUS, KeRestoreFloatingPointState, (PVOID))
IMPORT(NTSTATUS, KeSaveExtendedProcessorState, (ULONG64, PVOID))
IMPORT(VOID, KeRestoreExtendedProcessorState, (PVOID))
IMPORT(ULONG, KeGetRecommendedSharedDataAlignment, (void))
IMPORT(BOOLEAN, ExIsProcessorFeaturePresent, (ULONG))
IMPORT(VOID, IoGetStackLimits, (PULONG_PTR, PULONG_PTR))
IMPORT(PVOID, IoGetInitialStack, (void))
FIND(ULONG_PTR, IoGetRemainingStackSize, (void))
IMPORT(NTSTATUS, KeExpandKernelStackAndCallout, (PVOID, PVOID, SIZE_T))
IMPORT(NTSTATUS, KeExpandKernelStackAndCalloutEx, (PVOID, PVOID, SIZE_T, BOOLEAN, PVOID))
IMPORT(BOOLEAN, KeInvalidateAllCaches, (void))
FIND(VOID, KeFlushIoBuffers, (PMDL, BOOLEAN, BOOLEAN))
IMPORT(VOID, KeFlushWriteBuffer, (void))
IMPORT(BOOLEAN, ExVerifySuite, (ULONG))
IMPORT(NTSTATUS, ExRaiseHardError, (NTSTATUS, ULONG, ULONG, PULONG_PTR, ULONG, PULONG))
IMPORT(BOOLEAN, KeRegisterBugCheckCallback, (PVOID, PVOID, PVOID, ULONG, PVOID))
IMPORT(BOOLEAN, KeDeregisterBugCheckCallback, (PVOID))
IMPORT(BOOLEAN, KeRegisterBugCheckReasonCallback, (PVOID, PVOID, ULONG, PVOID))
IMPORT(BOOLEAN, KeDeregisterBugCheckReasonCallback, (PVOID))
IMPORT(VOID, KeBugCheck, (ULONG))
IMPORT(VOID, KeBugCheckEx, (ULONG, ULONG_PTR, ULONG_PTR, ULONG_PTR, ULONG_PTR))
IMPORT(VOID, ExRaiseStatus, (NTSTATUS))
IMPORT(VOID, ExRaiseAccessViolation, (void))
IMPORT(VOID, ExRaiseDatatypeMisalignment, (void))

TEST(KeQueryPerformanceCounter)
{
    LARGE_INTEGER frequency = {.QuadPart = 0};
    LONGLONG first = KeQueryPerformanceCounter(&frequency).QuadPart;
    CHECK(frequency.QuadPart >= 1000000);
    KeStallExecutionProcessor(50);
    LONGLONG second = KeQueryPerformanceCounter(NULL).QuadPart;
    CHECK((second - first) * 1000000 / frequency.QuadPart >= 50);
    PASS;
}
SAME(KeStallExecutionProcessor, KeQueryPerformanceCounter)

TEST(KeQuerySystemTime)
{
    LARGE_INTEGER first, second;
    TIME_FIELDS fields;
    find_KeQuerySystemTime()(&first);
    find_KeQuerySystemTimePrecise()(&second);
    CHECK(second.QuadPart >= first.QuadPart);
    RtlTimeToTimeFields(&first, &fields);
    CHECK(fields.Year >= 2024 && fields.Year < 2200);
    PASS;
}
SAME(KeQuerySystemTimePrecise, KeQuerySystemTime)

TEST(KeQueryInterruptTime)
{
    ULONG64 counter = 0;
    LARGE_INTEGER ticks;
    ULONGLONG first = find_KeQueryInterruptTime()();
    CHECK(first > 0);
    CHECK(find_KeQueryInterruptTimePrecise()(&counter) >= first);
    CHECK(counter != 0);
    counter = 0;
    first = KeQueryUnbiasedInterruptTime();
    CHECK(find_KeQueryUnbiasedInterruptTimePrecise()(&counter) >= first);
    CHECK(counter != 0);
    find_KeQueryTickCount()(&ticks);
    CHECK(ticks.QuadPart > 0);
    ULONGLONG now = find_KeQueryInterruptTime()();
    CHECK((ULONGLONG)ticks.QuadPart * KeQueryTimeIncrement() <= now);
    PASS;
}
SAME(KeQueryInterruptTimePrecise, KeQueryInterruptTime)
SAME(KeQueryUnbiasedInterruptTime, KeQueryInterruptTime)
SAME(KeQueryUnbiasedInterruptTimePrecise, KeQueryInterruptTime)
SAME(KeQueryTickCount, KeQueryInterruptTime)
SAME(KeQueryTimeIncrement, KeQueryInterruptTime)

TEST(KeSaveFloatingPointState)
{
    static char save[4096];
    volatile double half = 1.0;
    CHECK(import_KeSaveFloatingPointState(save) == STATUS_SUCCESS);
    half = half / 2;
    CHECK(import_KeRestoreFloatingPointState(save) == STATUS_SUCCESS);
    CHECK(import_KeSaveExtendedProcessorState(4, save) == STATUS_SUCCESS);
    import_KeRestoreExtendedProcessorState(save);
    CHECK(half == 0.5);
    PASS;
}
SAME(KeRestoreFloatingPointState, KeSaveFloatingPointState)
SAME(KeSaveExtendedProcessorState, KeSaveFloatingPointState)
SAME(KeRestoreExtendedProcessorState, KeSaveFloatingPointState)

TEST(ExIsProcessorFeaturePresent)
{
    ULONG line = import_KeGetRecommendedSharedDataAlignment();
    CHECK(line >= 32 && (line & (line - 1)) == 0);
    CHECK(import_ExIsProcessorFeaturePresent(PF_XMMI64_INSTRUCTIONS_AVAILABLE));
    CHECK(import_ExIsProcessorFeaturePresent(PF_RDTSC_INSTRUCTION_AVAILABLE));
    CHECK(!import_ExIsProcessorFeaturePresent(PF_FLOATING_POINT_EMULATED));
    CHECK(!import_ExVerifySuite(DataCenter));
    PASS;
}
SAME(KeGetRecommendedSharedDataAlignment, ExIsProcessorFeaturePresent)
SAME(ExVerifySuite, ExIsProcessorFeaturePresent)

static VOID NTAPI callout(PVOID context)
{
    volatile char large[16000];
    large[0] = 1;
    large[15999] = large[0];
    *(int *)context += large[15999];
}

TEST(IoGetStackLimits)
{
    ULONG_PTR low = 0, high = 0;
    int called = 0;
    import_IoGetStackLimits(&low, &high);
    CHECK(low < (ULONG_PTR)&low && (ULONG_PTR)&low < high);
    CHECK((ULONG_PTR)import_IoGetInitialStack() == high);
    CHECK(find_IoGetRemainingStackSize()() < (ULONG_PTR)&low - low);
    CHECK(find_IoGetRemainingStackSize()() > 12 * 1024);
    CHECK(import_KeExpandKernelStackAndCallout(callout, &called, 20000) == STATUS_SUCCESS);
    CHECK(import_KeExpandKernelStackAndCalloutEx(callout, &called, 20000, FALSE, NULL) == STATUS_SUCCESS);
    CHECK(called == 2);
    PASS;
}
SAME(IoGetInitialStack, IoGetStackLimits)
SAME(IoGetRemainingStackSize, IoGetStackLimits)
SAME(KeExpandKernelStackAndCallout, IoGetStackLimits)
SAME(KeExpandKernelStackAndCalloutEx, IoGetStackLimits)

TEST(KeFlushIoBuffers)
{
    CHECK(import_KeInvalidateAllCaches());
    find_KeFlushIoBuffers()(NULL, TRUE, FALSE);
    import_KeFlushWriteBuffer();
    PASS;
}
SAME(KeInvalidateAllCaches, KeFlushIoBuffers)
SAME(KeFlushWriteBuffer, KeFlushIoBuffers)

TEST(ExRaiseHardError)
{
    ULONG response = 77;
    CHECK(NT_SUCCESS(import_ExRaiseHardError(STATUS_UNSUCCESSFUL, 0, 0, NULL, 1, &response)));
    CHECK(response != 77);
    PASS;
}

TEST(KeRegisterBugCheckCallback)
{
    KBUGCHECK_CALLBACK_RECORD record;
    KBUGCHECK_REASON_CALLBACK_RECORD reason;
    KeInitializeCallbackRecord((&record));
    CHECK(import_KeRegisterBugCheckCallback(&record, callout, NULL, 0, "Test"));
    CHECK(!import_KeRegisterBugCheckCallback(&record, callout, NULL, 0, "Test"));
    CHECK(import_KeDeregisterBugCheckCallback(&record));
    CHECK(!import_KeDeregisterBugCheckCallback(&record));
    KeInitializeCallbackRecord((&reason));
    CHECK(import_KeRegisterBugCheckReasonCallback(&reason, callout, 1, "Test"));
    CHECK(import_KeDeregisterBugCheckReasonCallback(&reason));
    CHECK(!import_KeDeregisterBugCheckReasonCallback(&reason));
    PASS;
}
SAME(KeDeregisterBugCheckCallback, KeRegisterBugCheckCallback)
SAME(KeRegisterBugCheckReasonCallback, KeRegisterBugCheckCallback)
SAME(KeDeregisterBugCheckReasonCallback, KeRegisterBugCheckCallback)

/* These do not come back; the Rust side calls each in a process of its own. */
#define ENDS(name) __declspec(dllexport) void ends_##name(void); void ends_##name(void)
ENDS(KeBugCheck) { import_KeBugCheck(0xE2); }
ENDS(KeBugCheckEx) { import_KeBugCheckEx(0xDEADBEEF, 1, 2, 3, 4); }
ENDS(ExRaiseStatus) { import_ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES); }
ENDS(ExRaiseAccessViolation) { import_ExRaiseAccessViolation(); }
ENDS(ExRaiseDatatypeMisalignment) { import_ExRaiseDatatypeMisalignment(); }
