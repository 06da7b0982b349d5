/* Memory, bitmaps, dates, random numbers. */
#include "kernel2.h"

#define SYS __declspec(dllimport)
#undef RtlCopyMemory
#undef RtlMoveMemory
#undef RtlFillMemory
#undef RtlZeroMemory
#undef RtlCompareMemory
#undef RtlCopyMemoryNonTemporal
#undef RtlSecureZeroMemory
#undef RtlUshortByteSwap
#undef RtlUlongByteSwap
#undef RtlUlonglongByteSwap
SYS void NTAPI RtlCopyMemory(void *, const void *, SIZE_T);
SYS void NTAPI RtlMoveMemory(void *, const void *, SIZE_T);
SYS void NTAPI RtlFillMemory(void *, SIZE_T, int);
SYS void NTAPI RtlZeroMemory(void *, SIZE_T);
typedef void NTAPI RtlCopyMemoryNonTemporal_t(void *, const void *, SIZE_T);
typedef void *NTAPI RtlSecureZeroMemory_t(void *, SIZE_T);
typedef void NTAPI RtlFillMemoryUlong_t(void *, SIZE_T, ULONG);
typedef void NTAPI RtlFillMemoryUlonglong_t(void *, SIZE_T, ULONGLONG);
typedef SIZE_T NTAPI RtlCompareMemoryUlong_t(void *, SIZE_T, ULONG);
typedef void NTAPI RtlPrefetchMemoryNonTemporal_t(void *, SIZE_T);
typedef USHORT NTAPI RtlUshortByteSwap_t(USHORT);
typedef ULONG NTAPI RtlUlongByteSwap_t(ULONG);
typedef ULONGLONG NTAPI RtlUlonglongByteSwap_t(ULONGLONG);

TEST(RtlCompareMemory)
{
    CHECK(RtlCompareMemory("abcd", "abxd", 4) == 2 && RtlCompareMemory("abcd", "abcd", 4) == 4);
    PASS;
}

TEST(RtlCompareMemoryUlong)
{
    ULONG words[] = { 7, 7, 8 };
    RtlCompareMemoryUlong_t *routine = ROUTINE_OF_TYPE(RtlCompareMemoryUlong);
    CHECK(routine && routine(words, 12, 7) == 8 && routine(words, 7, 7) == 4);
    PASS;
}

TEST(RtlCopyMemory)
{
    char a[4] = { 0 };
    RtlCopyMemory(a, "abc", 3);
    CHECK(same_text(a, "abc"));
    PASS;
}

TEST(RtlCopyMemoryNonTemporal)
{
    char a[4] = { 0 };
    RtlCopyMemoryNonTemporal_t *routine = ROUTINE_OF_TYPE(RtlCopyMemoryNonTemporal);
    routine(a, "abc", 3);
    CHECK(same_text(a, "abc"));
    PASS;
}

TEST(RtlMoveMemory)
{
    char a[] = "abcdef";
    RtlMoveMemory(a + 1, a, 5);
    CHECK(same_text(a, "aabcde"));
    PASS;
}

TEST(RtlFillMemory)
{
    char a[] = "abc";
    RtlFillMemory(a, 2, 'z');
    CHECK(same_text(a, "zzc"));
    PASS;
}

TEST(RtlFillMemoryUlong)
{
    ULONG words[3] = { 0 };
    RtlFillMemoryUlong_t *routine = ROUTINE_OF_TYPE(RtlFillMemoryUlong);
    routine(words, 8, 0xDEADBEEF);
    CHECK(words[0] == 0xDEADBEEF && words[1] == 0xDEADBEEF && !words[2]);
    PASS;
}

TEST(RtlFillMemoryUlonglong)
{
    ULONGLONG words[2] = { 0 };
    RtlFillMemoryUlonglong_t *routine = ROUTINE_OF_TYPE(RtlFillMemoryUlonglong);
    routine(words, 8, ~1ULL);
    CHECK(words[0] == ~1ULL && !words[1]);
    PASS;
}

TEST(RtlZeroMemory)
{
    char a[] = "abc";
    RtlZeroMemory(a, 2);
    CHECK(!a[0] && !a[1] && a[2] == 'c');
    PASS;
}

TEST(RtlSecureZeroMemory)
{
    char a[] = "abc";
    RtlSecureZeroMemory_t *routine = ROUTINE_OF_TYPE(RtlSecureZeroMemory);
    CHECK(routine(a, 2) == a && !a[0] && !a[1] && a[2] == 'c');
    PASS;
}

TEST(RtlPrefetchMemoryNonTemporal)
{
    char a[] = "abc";
    RtlPrefetchMemoryNonTemporal_t *routine = ROUTINE_OF_TYPE(RtlPrefetchMemoryNonTemporal);
    routine(a, 3);
    CHECK(same_text(a, "abc"));
    PASS;
}

TEST(RtlUshortByteSwap)
{
    RtlUshortByteSwap_t *routine = ROUTINE_OF_TYPE(RtlUshortByteSwap);
    CHECK(routine(0x1234) == 0x3412);
    PASS;
}

TEST(RtlUlongByteSwap)
{
    RtlUlongByteSwap_t *routine = ROUTINE_OF_TYPE(RtlUlongByteSwap);
    CHECK(routine(0x12345678) == 0x78563412);
    PASS;
}

TEST(RtlUlonglongByteSwap)
{
    RtlUlonglongByteSwap_t *routine = ROUTINE_OF_TYPE(RtlUlonglongByteSwap);
    CHECK(routine(0x1122334455667788ULL) == 0x8877665544332211ULL);
    PASS;
}

/* 40 bits: 0, 1 and 35 are set. */
#define MAP \
    ULONG words[2] = { 3, 8 }; \
    RTL_BITMAP map; \
    RtlInitializeBitMap(&map, words, 40)

TEST(RtlInitializeBitMap)
{
    MAP;
    CHECK(map.SizeOfBitMap == 40 && map.Buffer == words && words[0] == 3);
    PASS;
}

TEST(RtlClearAllBits) { MAP; RtlClearAllBits(&map); CHECK(!words[0] && !words[1]); PASS; }
TEST(RtlSetAllBits) { MAP; RtlSetAllBits(&map); CHECK(words[0] == ~0u && (words[1] & 0xFF) == 0xFF); PASS; }
TEST(RtlClearBit) { MAP; RtlClearBit(&map, 35); CHECK(!words[1]); PASS; }
TEST(RtlSetBit) { MAP; RtlSetBit(&map, 32); CHECK(words[1] == 9); PASS; }
TEST(RtlTestBit) { MAP; CHECK(RtlTestBit(&map, 1) && !RtlTestBit(&map, 2) && RtlTestBit(&map, 35)); PASS; }
TEST(RtlClearBits) { MAP; RtlClearBits(&map, 1, 36); CHECK(words[0] == 1 && !words[1]); PASS; }
TEST(RtlSetBits) { MAP; RtlSetBits(&map, 30, 4); CHECK(words[0] == 0xC0000003 && words[1] == 0xB); PASS; }
TEST(RtlAreBitsClear) { MAP; CHECK(RtlAreBitsClear(&map, 2, 33) && !RtlAreBitsClear(&map, 2, 34) && !RtlAreBitsClear(&map, 39, 2)); PASS; }
TEST(RtlAreBitsSet) { MAP; CHECK(RtlAreBitsSet(&map, 0, 2) && !RtlAreBitsSet(&map, 0, 3)); PASS; }
TEST(RtlFindClearBits) { MAP; CHECK(RtlFindClearBits(&map, 4, 33) == 36 && RtlFindClearBits(&map, 5, 33) == 2 && RtlFindClearBits(&map, 34, 0) == ~0u); PASS; }
TEST(RtlFindSetBits) { MAP; CHECK(RtlFindSetBits(&map, 2, 5) == 0 && RtlFindSetBits(&map, 1, 5) == 35 && RtlFindSetBits(&map, 3, 0) == ~0u); PASS; }
TEST(RtlFindClearBitsAndSet) { MAP; CHECK(RtlFindClearBitsAndSet(&map, 2, 0) == 2 && words[0] == 0xF); PASS; }
TEST(RtlFindSetBitsAndClear) { MAP; CHECK(RtlFindSetBitsAndClear(&map, 2, 0) == 0 && !words[0]); PASS; }
TEST(RtlNumberOfClearBits) { MAP; CHECK(RtlNumberOfClearBits(&map) == 37); PASS; }
TEST(RtlNumberOfSetBits) { MAP; CHECK(RtlNumberOfSetBits(&map) == 3); PASS; }

TEST(RtlFindClearRuns)
{
    MAP;
    RTL_BITMAP_RUN runs[2];
    CHECK(RtlFindClearRuns(&map, runs, 2, FALSE) == 2 && runs[0].StartingIndex == 2 && runs[0].NumberOfBits == 33);
    CHECK(runs[1].StartingIndex == 36 && runs[1].NumberOfBits == 4);
    RtlSetBits(&map, 2, 31);
    CHECK(RtlFindClearRuns(&map, runs, 1, TRUE) == 1 && runs[0].StartingIndex == 36);
    PASS;
}

TEST(RtlFindFirstRunClear) { MAP; ULONG start; CHECK(RtlFindFirstRunClear(&map, &start) == 33 && start == 2); PASS; }
TEST(RtlFindLongestRunClear) { MAP; ULONG start; CHECK(RtlFindLongestRunClear(&map, &start) == 33 && start == 2); PASS; }
TEST(RtlFindNextForwardRunClear) { MAP; ULONG start; CHECK(RtlFindNextForwardRunClear(&map, 35, &start) == 4 && start == 36); PASS; }
TEST(RtlFindLastBackwardRunClear) { MAP; ULONG start; CHECK(RtlFindLastBackwardRunClear(&map, 35, &start) == 33 && start == 2); PASS; }

typedef ULONG NTAPI RtlNumberOfSetBitsUlongPtr_t(ULONG_PTR);
TEST(RtlNumberOfSetBitsUlongPtr)
{
    RtlNumberOfSetBitsUlongPtr_t *routine = ROUTINE_OF_TYPE(RtlNumberOfSetBitsUlongPtr);
    CHECK(routine(0xF00000000000000FULL) == 8);
    PASS;
}

TEST(RtlFindLeastSignificantBit) { CHECK(RtlFindLeastSignificantBit(0x30) == 4 && RtlFindLeastSignificantBit(0) == -1); PASS; }
TEST(RtlFindMostSignificantBit) { CHECK(RtlFindMostSignificantBit(0x30) == 5 && RtlFindMostSignificantBit(0) == -1); PASS; }

/* 2000-02-29 12:34:56.789, a Tuesday. */
static const LONGLONG leap_day = 125963012967890000LL;

TEST(RtlTimeToTimeFields)
{
    LARGE_INTEGER time;
    TIME_FIELDS fields;
    time.QuadPart = leap_day;
    RtlTimeToTimeFields(&time, &fields);
    CHECK(fields.Year == 2000 && fields.Month == 2 && fields.Day == 29 && fields.Weekday == 2);
    CHECK(fields.Hour == 12 && fields.Minute == 34 && fields.Second == 56 && fields.Milliseconds == 789);
    PASS;
}

TEST(RtlTimeFieldsToTime)
{
    TIME_FIELDS fields = { 2000, 2, 29, 12, 34, 56, 789, 0 };
    LARGE_INTEGER time;
    CHECK(RtlTimeFieldsToTime(&fields, &time) && time.QuadPart == leap_day);
    fields.Year = 2001;
    CHECK(!RtlTimeFieldsToTime(&fields, &time));
    PASS;
}

typedef void NTAPI RtlTimeToElapsedTimeFields_t(PLARGE_INTEGER, PTIME_FIELDS);
TEST(RtlTimeToElapsedTimeFields)
{
    RtlTimeToElapsedTimeFields_t *routine = ROUTINE_OF_TYPE(RtlTimeToElapsedTimeFields);
    LARGE_INTEGER time;
    TIME_FIELDS fields;
    time.QuadPart = (2 * 86400 + 3661) * 10000000LL;
    routine(&time, &fields);
    CHECK(fields.Day == 2 && fields.Hour == 1 && fields.Minute == 1 && fields.Second == 1 && !fields.Year);
    PASS;
}

typedef BOOLEAN NTAPI to_seconds(PLARGE_INTEGER, PULONG);
typedef void NTAPI from_seconds(ULONG, PLARGE_INTEGER);
static const char *seconds(const WCHAR *to, const WCHAR *from, ULONG expected)
{
    LARGE_INTEGER time;
    ULONG value;
    time.QuadPart = leap_day;
    CHECK(((to_seconds *)routine_of(to))(&time, &value) && value == expected);
    ((from_seconds *)routine_of(from))(value, &time);
    CHECK(time.QuadPart == leap_day - 7890000);
    time.QuadPart = 0;
    CHECK(!((to_seconds *)routine_of(to))(&time, &value));
    PASS;
}
TEST(RtlTimeToSecondsSince1970) { return seconds(L"RtlTimeToSecondsSince1970", L"RtlSecondsSince1970ToTime", 951827696); }
SAME(RtlSecondsSince1970ToTime, RtlTimeToSecondsSince1970)
TEST(RtlTimeToSecondsSince1980) { return seconds(L"RtlTimeToSecondsSince1980", L"RtlSecondsSince1980ToTime", 951827696 - 315532800); }
SAME(RtlSecondsSince1980ToTime, RtlTimeToSecondsSince1980)

TEST(ExSystemTimeToLocalTime)
{
    LARGE_INTEGER system, local, back;
    system.QuadPart = leap_day;
    ExSystemTimeToLocalTime(&system, &local);
    ExLocalTimeToSystemTime(&local, &back);
    CHECK(back.QuadPart == leap_day && local.QuadPart == leap_day);
    PASS;
}
SAME(ExLocalTimeToSystemTime, ExSystemTimeToLocalTime)

typedef NTSTATUS NTAPI convert(PLARGE_INTEGER, PLARGE_INTEGER);
TEST(RtlSystemTimeToLocalTime)
{
    LARGE_INTEGER system, local, back;
    system.QuadPart = leap_day;
    CHECK(((convert *)routine_of(L"RtlSystemTimeToLocalTime"))(&system, &local) == STATUS_SUCCESS);
    CHECK(((convert *)routine_of(L"RtlLocalTimeToSystemTime"))(&local, &back) == STATUS_SUCCESS);
    CHECK(back.QuadPart == leap_day);
    PASS;
}
SAME(RtlLocalTimeToSystemTime, RtlSystemTimeToLocalTime)

static const char *random_numbers(const WCHAR *name)
{
    ULONG (NTAPI *routine)(PULONG) = (ULONG (NTAPI *)(PULONG))routine_of(name);
    ULONG seed = 1, again = 1, first = routine(&seed), second = routine(&seed);
    CHECK(first < 0x7FFFFFFF && second < 0x7FFFFFFF && first != second);
    CHECK(routine(&again) == first && routine(&again) == second);
    PASS;
}
TEST(RtlRandom) { return random_numbers(L"RtlRandom"); }
TEST(RtlRandomEx) { return random_numbers(L"RtlRandomEx"); }

TEST(MmGetSystemRoutineAddress)
{
    CHECK(routine_of(L"RtlZeroMemory") && !routine_of(L"NoSuchRoutine") && !routine_of(L"KsInitializeDriver"));
    PASS;
}
