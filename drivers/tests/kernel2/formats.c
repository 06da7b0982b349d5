/* The routines that format text, and those that print it for a debugger. */
#include <stdarg.h>
#include "kernel2.h"

#define C(type, name, arguments) __declspec(dllimport) type __cdecl name arguments;
C(int, sprintf, (char *, const char *, ...))
C(int, sprintf_s, (char *, size_t, const char *, ...))
C(int, _snprintf, (char *, size_t, const char *, ...))
C(int, _snprintf_s, (char *, size_t, size_t, const char *, ...))
C(int, _swprintf, (WCHAR *, const WCHAR *, ...))
C(int, swprintf_s, (WCHAR *, size_t, const WCHAR *, ...))
C(int, _snwprintf, (WCHAR *, size_t, const WCHAR *, ...))
C(int, _snwprintf_s, (WCHAR *, size_t, size_t, const WCHAR *, ...))
C(int, vsprintf, (char *, const char *, va_list))
C(int, vsprintf_s, (char *, size_t, const char *, va_list))
C(int, _vsnprintf, (char *, size_t, const char *, va_list))
C(int, _vsnprintf_s, (char *, size_t, size_t, const char *, va_list))
C(int, _vswprintf, (WCHAR *, const WCHAR *, va_list))
C(int, vswprintf_s, (WCHAR *, size_t, const WCHAR *, va_list))
C(int, _vsnwprintf, (WCHAR *, size_t, const WCHAR *, va_list))
C(int, _vsnwprintf_s, (WCHAR *, size_t, size_t, const WCHAR *, va_list))
typedef int __cdecl swprintf_t(WCHAR *, const WCHAR *, ...);

static const UNICODE_STRING counted = { 4, 6, (PWSTR)L"xyz" };

TEST(sprintf)
{
    char a[200];
    CHECK(sprintf(a, "%d %u %s %c", -1, 2u, "three", '4') == 12 && same_text(a, "-1 2 three 4"));
    CHECK(sprintf(a, "%S|%ws|%wZ|%hs", L"wide", L"also", &counted, "bytes") == 18 && same_text(a, "wide|also|xy|bytes"));
    CHECK(sprintf(a, "%I64x %08lX %p", 0x123456789AULL, 0xBEEFUL, (void *)0x1000) == 36);
    CHECK(same_text(a, "123456789a 0000BEEF 0000000000001000"));
    sprintf(a, "%5.1f|%-8d|%+d|%.2e|%g", 2.25, 7, 7, 12345.0, 0.5);
    CHECK(same_text(a, "  2.2|7       |+7|1.23e+004|0.5"));
    sprintf(a, "%*.*s|%.*d|%%", 5, 2, "abc", 3, 7);
    CHECK(same_text(a, "   ab|007|%"));
    sprintf(a, "%d%d%d%d%d%d%d%d", 1, 2, 3, 4, 5, 6, 7, 8);
    CHECK(same_text(a, "12345678"));
    PASS;
}

TEST(sprintf_s)
{
    char a[8];
    CHECK(sprintf_s(a, 8, "%d", 1234567) == 7 && same_text(a, "1234567"));
    CHECK(sprintf_s(a, 8, "%d", 12345678) == -1 && !a[0]);
    PASS;
}

TEST(_snprintf)
{
    char a[8] = "zzzzzzz";
    CHECK(_snprintf(a, 4, "%d", 123) == 3 && same_text(a, "123"));
    CHECK(_snprintf(a, 4, "%d", 1234) == 4 && same_text(a, "1234zzz"));
    CHECK(_snprintf(a, 4, "%d", 56789) == -1 && same_text(a, "5678zzz"));
    CHECK(_snprintf(NULL, 0, "%d", 56789) == 5);
    PASS;
}

TEST(_snprintf_s)
{
    char a[8];
    CHECK(_snprintf_s(a, 8, 4, "%d", 123456) == -1 && same_text(a, "1234"));
    CHECK(_snprintf_s(a, 4, (size_t)-1, "%d%s", 12, "3456") == -1 && same_text(a, "123"));
    CHECK(_snprintf_s(a, 4, 10, "%d", 123456) == -1 && !a[0]);
    CHECK(_snprintf_s(a, 8, 7, "%d-%d-%d", 1, 2, 3) == 5 && same_text(a, "1-2-3"));
    PASS;
}

TEST(_swprintf)
{
    WCHAR a[40];
    CHECK(_swprintf(a, L"%s|%S|%hs|%d|%wZ|%c", L"ab", "cd", "ef", 7, &counted, L'x') == 15);
    CHECK(same_wide(a, L"ab|cd|ef|7|xy|x"));
    PASS;
}

TEST(swprintf)
{
    swprintf_t *routine = (swprintf_t *)routine_of(L"swprintf");
    WCHAR a[40];
    CHECK(routine && routine(a, L"%04x", 0xAB) == 4 && same_wide(a, L"00ab"));
    PASS;
}

TEST(swprintf_s)
{
    WCHAR a[4];
    CHECK(swprintf_s(a, 4, L"%d", 123) == 3 && same_wide(a, L"123") && swprintf_s(a, 4, L"%d", 1234) == -1 && !a[0]);
    PASS;
}

TEST(_snwprintf)
{
    WCHAR a[8] = L"zzzzzzz";
    CHECK(_snwprintf(a, 4, L"%d", 12345) == -1 && same_wide(a, L"1234zzz") && _snwprintf(a, 8, L"%ls", L"ab") == 2);
    CHECK(same_wide(a, L"ab"));
    PASS;
}

TEST(_snwprintf_s)
{
    WCHAR a[8];
    CHECK(_snwprintf_s(a, 8, 3, L"%d", 12345) == -1 && same_wide(a, L"123"));
    PASS;
}

#define WITH_LIST(name, T) \
    static int call_##name(T *to, size_t room, const T *format, ...)
#define LIST(call) { va_list list; int result; va_start(list, format); result = call; va_end(list); return result; }
WITH_LIST(vsprintf, char) LIST(vsprintf(to, format, list) + 0 * (int)room)
WITH_LIST(vsprintf_s, char) LIST(vsprintf_s(to, room, format, list))
WITH_LIST(_vsnprintf, char) LIST(_vsnprintf(to, room, format, list))
WITH_LIST(_vsnprintf_s, char) LIST(_vsnprintf_s(to, room, (size_t)-1, format, list))
WITH_LIST(_vswprintf, WCHAR) LIST(_vswprintf(to, format, list) + 0 * (int)room)
WITH_LIST(vswprintf_s, WCHAR) LIST(vswprintf_s(to, room, format, list))
WITH_LIST(_vsnwprintf, WCHAR) LIST(_vsnwprintf(to, room, format, list))
WITH_LIST(_vsnwprintf_s, WCHAR) LIST(_vsnwprintf_s(to, room, (size_t)-1, format, list))

#define LISTED(name, T, L, same, cut) TEST(name) { T a[8]; \
    CHECK(call_##name(a, 8, L("%d%s%d"), 1, L("ab"), 2) == 4 && same(a, L("1ab2"))); \
    if (cut) { a[3] = 'z'; CHECK(call_##name(a, 3, L("%d"), 1234) == -1 && a[3] == 'z'); } PASS; }
#define NARROW(text) text
#define WIDE(text) L##text
LISTED(vsprintf, char, NARROW, same_text, 0)
LISTED(vsprintf_s, char, NARROW, same_text, 1)
LISTED(_vsnprintf, char, NARROW, same_text, 1)
LISTED(_vsnprintf_s, char, NARROW, same_text, 1)
LISTED(_vswprintf, WCHAR, WIDE, same_wide, 0)
LISTED(vswprintf_s, WCHAR, WIDE, same_wide, 1)
LISTED(_vsnwprintf, WCHAR, WIDE, same_wide, 1)
LISTED(_vsnwprintf_s, WCHAR, WIDE, same_wide, 1)

/* What is printed is read by the test's Rust side. */
TEST(DbgPrint)
{
    CHECK(DbgPrint("DbgPrint %d %s %wZ %I64d\n", 42, "text", &counted, -1LL) == STATUS_SUCCESS);
    PASS;
}

TEST(DbgPrintEx)
{
    CHECK(DbgPrintEx(DPFLTR_IHVVIDEO_ID, DPFLTR_ERROR_LEVEL, "DbgPrintEx %d %d %d\n", 1, 2, 3) == STATUS_SUCCESS);
    PASS;
}

static ULONG print_list(int prefixed, const char *format, ...)
{
    va_list list;
    ULONG status;
    va_start(list, format);
    status = prefixed ? vDbgPrintExWithPrefix("prefix: ", DPFLTR_IHVAUDIO_ID, DPFLTR_INFO_LEVEL, format, list)
                      : vDbgPrintEx(DPFLTR_IHVAUDIO_ID, DPFLTR_INFO_LEVEL, format, list);
    va_end(list);
    return status;
}

TEST(vDbgPrintEx)
{
    CHECK(print_list(0, "vDbgPrintEx %x\n", 0xAB) == STATUS_SUCCESS);
    PASS;
}

TEST(vDbgPrintExWithPrefix)
{
    CHECK(print_list(1, "vDbgPrintExWithPrefix %c\n", 'c') == STATUS_SUCCESS);
    PASS;
}

typedef ULONG __cdecl DbgPrintReturnControlC_t(const char *, ...);
TEST(DbgPrintReturnControlC)
{
    DbgPrintReturnControlC_t *routine = ROUTINE_OF_TYPE(DbgPrintReturnControlC);
    CHECK(routine && routine("DbgPrintReturnControlC %s\n", "x") == STATUS_SUCCESS);
    PASS;
}

typedef NTSTATUS NTAPI DbgQueryDebugFilterState_t(ULONG, ULONG);
typedef NTSTATUS NTAPI DbgSetDebugFilterState_t(ULONG, ULONG, BOOLEAN);
TEST(DbgQueryDebugFilterState)
{
    DbgQueryDebugFilterState_t *query = ROUTINE_OF_TYPE(DbgQueryDebugFilterState);
    DbgSetDebugFilterState_t *set = ROUTINE_OF_TYPE(DbgSetDebugFilterState);
    CHECK(set && set(DPFLTR_IHVVIDEO_ID, DPFLTR_INFO_LEVEL, TRUE) == STATUS_SUCCESS);
    CHECK(query && query(DPFLTR_IHVVIDEO_ID, DPFLTR_INFO_LEVEL) == TRUE);
    PASS;
}
SAME(DbgSetDebugFilterState, DbgQueryDebugFilterState)
