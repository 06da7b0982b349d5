/* Counted strings, code pages, GUIDs. */
#include "kernel2.h"

typedef UNICODE_STRING U;
typedef ANSI_STRING A;
#define SYS __declspec(dllimport)
#define UTEXT(name, text) U name = { sizeof(text) - 2, sizeof(text), (PWSTR)text }
#define ATEXT(name, text) A name = { sizeof(text) - 1, sizeof(text), (char *)text }
#define UROOM(name, units) WCHAR name##_buffer[units]; U name = { 0, sizeof name##_buffer, name##_buffer }
#define AROOM(name, bytes) char name##_buffer[bytes]; A name = { 0, sizeof name##_buffer, name##_buffer }

SYS NTSTATUS NTAPI RtlInitUnicodeStringEx(U *, const WCHAR *);
SYS BOOLEAN NTAPI RtlCreateUnicodeString(U *, const WCHAR *);
SYS NTSTATUS NTAPI RtlDuplicateUnicodeString(ULONG, const U *, U *);
SYS LONG NTAPI RtlCompareUnicodeStrings(const WCHAR *, SIZE_T, const WCHAR *, SIZE_T, BOOLEAN);
SYS NTSTATUS NTAPI RtlDowncaseUnicodeString(U *, const U *, BOOLEAN);
SYS NTSTATUS NTAPI RtlValidateUnicodeString(ULONG, const U *);
SYS NTSTATUS NTAPI RtlInt64ToUnicodeString(ULONGLONG, ULONG, U *);
SYS NTSTATUS NTAPI RtlInitAnsiStringEx(A *, const char *);
SYS BOOLEAN NTAPI RtlPrefixString(const A *, const A *, BOOLEAN);
SYS NTSTATUS NTAPI RtlAppendAsciizToString(A *, const char *);
SYS NTSTATUS NTAPI RtlAppendStringToString(A *, const A *);
SYS void NTAPI RtlFreeOemString(A *);
SYS NTSTATUS NTAPI RtlCharToInteger(const char *, ULONG, ULONG *);
SYS WCHAR NTAPI RtlAnsiCharToUnicodeChar(unsigned char **);
SYS NTSTATUS NTAPI RtlOemStringToUnicodeString(U *, const A *, BOOLEAN);
SYS NTSTATUS NTAPI RtlUnicodeStringToOemString(A *, const U *, BOOLEAN);
SYS NTSTATUS NTAPI RtlUpcaseUnicodeStringToAnsiString(A *, const U *, BOOLEAN);
SYS NTSTATUS NTAPI RtlUpcaseUnicodeStringToOemString(A *, const U *, BOOLEAN);
#undef RtlAnsiStringToUnicodeSize
#undef RtlOemStringToUnicodeSize
#undef RtlUnicodeStringToAnsiSize
#undef RtlUnicodeStringToOemSize
SYS ULONG NTAPI RtlAnsiStringToUnicodeSize(const A *);
SYS ULONG NTAPI RtlOemStringToUnicodeSize(const A *);
SYS ULONG NTAPI RtlUnicodeStringToAnsiSize(const U *);
SYS ULONG NTAPI RtlUnicodeStringToOemSize(const U *);
SYS ULONG NTAPI RtlxUnicodeStringToOemSize(PCUNICODE_STRING);
SYS ULONG NTAPI RtlxOemStringToUnicodeSize(PCOEM_STRING);
SYS NTSTATUS NTAPI RtlMultiByteToUnicodeN(WCHAR *, ULONG, ULONG *, const char *, ULONG);
SYS NTSTATUS NTAPI RtlMultiByteToUnicodeSize(ULONG *, const char *, ULONG);
SYS NTSTATUS NTAPI RtlUnicodeToMultiByteN(char *, ULONG, ULONG *, const WCHAR *, ULONG);
SYS NTSTATUS NTAPI RtlUnicodeToMultiByteSize(ULONG *, const WCHAR *, ULONG);
SYS NTSTATUS NTAPI RtlUpcaseUnicodeToMultiByteN(char *, ULONG, ULONG *, const WCHAR *, ULONG);
SYS NTSTATUS NTAPI RtlOemToUnicodeN(WCHAR *, ULONG, ULONG *, const char *, ULONG);
SYS NTSTATUS NTAPI RtlUnicodeToOemN(char *, ULONG, ULONG *, const WCHAR *, ULONG);
SYS NTSTATUS NTAPI RtlUTF8ToUnicodeN(WCHAR *, ULONG, ULONG *, const char *, ULONG);
SYS NTSTATUS NTAPI RtlUnicodeToUTF8N(char *, ULONG, ULONG *, const WCHAR *, ULONG);
SYS NTSTATUS NTAPI RtlHashUnicodeString(const U *, BOOLEAN, ULONG, ULONG *);

TEST(RtlInitUnicodeString)
{
    U string;
    const WCHAR *text = L"abc";
    RtlInitUnicodeString(&string, text);
    CHECK(string.Length == 6 && string.MaximumLength == 8 && string.Buffer == text);
    RtlInitUnicodeString(&string, NULL);
    CHECK(string.Length == 0 && string.MaximumLength == 0 && !string.Buffer);
    PASS;
}

TEST(RtlInitUnicodeStringEx)
{
    static WCHAR text[0x8001];
    U string;
    ULONG at;
    for (at = 0; at < 0x8000; at++)
        text[at] = 'x';
    CHECK(RtlInitUnicodeStringEx(&string, text) == STATUS_NAME_TOO_LONG && !string.Buffer && !string.Length);
    CHECK(RtlInitUnicodeStringEx(&string, L"ab") == STATUS_SUCCESS && is_string(&string, L"ab"));
    PASS;
}

TEST(RtlCreateUnicodeString)
{
    U string;
    CHECK(RtlCreateUnicodeString(&string, L"abc") && is_string(&string, L"abc") && string.MaximumLength == 8);
    CHECK(!string.Buffer[3]);
    RtlFreeUnicodeString(&string);
    PASS;
}

TEST(RtlFreeUnicodeString)
{
    U string = { 0 };
    RtlFreeUnicodeString(&string);
    CHECK(RtlCreateUnicodeString(&string, L"abc"));
    RtlFreeUnicodeString(&string);
    CHECK(!string.Buffer && !string.Length && !string.MaximumLength);
    PASS;
}

TEST(RtlCopyUnicodeString)
{
    UTEXT(from, L"abc");
    UROOM(to, 8);
    RtlCopyUnicodeString(&to, &from);
    CHECK(is_string(&to, L"abc") && !to.Buffer[3] && to.MaximumLength == 16);
    to.MaximumLength = 4;
    to.Buffer[2] = 'z';
    RtlCopyUnicodeString(&to, &from);
    CHECK(is_string(&to, L"ab") && to.Buffer[2] == 'z');
    RtlCopyUnicodeString(&to, NULL);
    CHECK(to.Length == 0);
    PASS;
}

TEST(RtlDuplicateUnicodeString)
{
    UTEXT(from, L"abc");
    UTEXT(empty, L"");
    U to;
    CHECK(RtlDuplicateUnicodeString(1, &from, &to) == STATUS_SUCCESS && is_string(&to, L"abc") && !to.Buffer[3]);
    CHECK(to.Buffer != from.Buffer);
    RtlFreeUnicodeString(&to);
    CHECK(RtlDuplicateUnicodeString(0, &empty, &to) == STATUS_SUCCESS && !to.Buffer);
    CHECK(RtlDuplicateUnicodeString(3, &empty, &to) == STATUS_SUCCESS && to.Buffer && to.MaximumLength == 2);
    RtlFreeUnicodeString(&to);
    CHECK(RtlDuplicateUnicodeString(2, &from, &to) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(RtlCompareUnicodeString)
{
    UTEXT(a, L"abc");
    UTEXT(b, L"ABD");
    UTEXT(c, L"ABC");
    UTEXT(d, L"ab");
    CHECK(RtlCompareUnicodeString(&a, &b, FALSE) > 0 && RtlCompareUnicodeString(&a, &b, TRUE) < 0);
    CHECK(RtlCompareUnicodeString(&a, &c, TRUE) == 0 && RtlCompareUnicodeString(&d, &a, FALSE) < 0);
    PASS;
}

TEST(RtlCompareUnicodeStrings)
{
    CHECK(RtlCompareUnicodeStrings(L"abX", 2, L"ABY", 2, TRUE) == 0);
    CHECK(RtlCompareUnicodeStrings(L"ab", 2, L"ac", 2, FALSE) < 0);
    PASS;
}

TEST(RtlEqualUnicodeString)
{
    UTEXT(a, L"abc");
    UTEXT(b, L"ABC");
    CHECK(!RtlEqualUnicodeString(&a, &b, FALSE) && RtlEqualUnicodeString(&a, &b, TRUE));
    PASS;
}

TEST(RtlPrefixUnicodeString)
{
    UTEXT(a, L"ab");
    UTEXT(b, L"ABC");
    CHECK(!RtlPrefixUnicodeString(&a, &b, FALSE) && RtlPrefixUnicodeString(&a, &b, TRUE));
    CHECK(!RtlPrefixUnicodeString(&b, &a, TRUE));
    PASS;
}

TEST(RtlAppendUnicodeToString)
{
    UROOM(to, 4);
    CHECK(RtlAppendUnicodeToString(&to, L"abc") == STATUS_SUCCESS && is_string(&to, L"abc") && !to.Buffer[3]);
    CHECK(RtlAppendUnicodeToString(&to, L"de") == STATUS_BUFFER_TOO_SMALL && is_string(&to, L"abc"));
    CHECK(RtlAppendUnicodeToString(&to, L"d") == STATUS_SUCCESS && is_string(&to, L"abcd"));
    CHECK(RtlAppendUnicodeToString(&to, NULL) == STATUS_SUCCESS);
    PASS;
}

TEST(RtlAppendUnicodeStringToString)
{
    UROOM(to, 4);
    UTEXT(from, L"xyz");
    CHECK(RtlAppendUnicodeStringToString(&to, &from) == STATUS_SUCCESS && is_string(&to, L"xyz"));
    CHECK(RtlAppendUnicodeStringToString(&to, &from) == STATUS_BUFFER_TOO_SMALL);
    PASS;
}

TEST(RtlUpcaseUnicodeString)
{
    UTEXT(from, L"a\xE4z1");
    UROOM(to, 4);
    U made;
    CHECK(RtlUpcaseUnicodeString(&to, &from, FALSE) == STATUS_SUCCESS && is_string(&to, L"A\xC4Z1"));
    to.MaximumLength = 6;
    CHECK(RtlUpcaseUnicodeString(&to, &from, FALSE) == STATUS_BUFFER_OVERFLOW);
    CHECK(RtlUpcaseUnicodeString(&made, &from, TRUE) == STATUS_SUCCESS && is_string(&made, L"A\xC4Z1"));
    RtlFreeUnicodeString(&made);
    PASS;
}

TEST(RtlDowncaseUnicodeString)
{
    UTEXT(from, L"A\xC4Z1");
    UROOM(to, 4);
    CHECK(RtlDowncaseUnicodeString(&to, &from, FALSE) == STATUS_SUCCESS && is_string(&to, L"a\xE4z1"));
    PASS;
}

TEST(RtlUpcaseUnicodeChar)
{
    CHECK(RtlUpcaseUnicodeChar(L'q') == L'Q' && RtlUpcaseUnicodeChar(0xDF) == 0xDF);
    PASS;
}

TEST(RtlDowncaseUnicodeChar)
{
    CHECK(RtlDowncaseUnicodeChar(L'Q') == L'q' && RtlDowncaseUnicodeChar(L'1') == L'1');
    PASS;
}

TEST(RtlValidateUnicodeString)
{
    UTEXT(good, L"ab");
    U odd = { 3, 4, good.Buffer }, over = { 6, 4, good.Buffer }, hollow = { 2, 4, NULL };
    CHECK(RtlValidateUnicodeString(0, &good) == STATUS_SUCCESS && RtlValidateUnicodeString(1, &good) == STATUS_INVALID_PARAMETER);
    CHECK(RtlValidateUnicodeString(0, &odd) == STATUS_INVALID_PARAMETER);
    CHECK(RtlValidateUnicodeString(0, &over) == STATUS_INVALID_PARAMETER);
    CHECK(RtlValidateUnicodeString(0, &hollow) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(RtlHashUnicodeString)
{
    UTEXT(a, L"ab");
    UTEXT(b, L"AB");
    ULONG x, y;
    CHECK(RtlHashUnicodeString(&a, TRUE, 0, &x) == STATUS_SUCCESS && RtlHashUnicodeString(&b, TRUE, 1, &y) == STATUS_SUCCESS);
    CHECK(x == y && x == 65u * 65599 + 66);
    CHECK(RtlHashUnicodeString(&a, FALSE, 1, &y) == STATUS_SUCCESS && x != y);
    CHECK(RtlHashUnicodeString(&a, FALSE, 7, &y) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(RtlIntegerToUnicodeString)
{
    UROOM(to, 6);
    CHECK(RtlIntegerToUnicodeString(0xBEEF, 16, &to) == STATUS_SUCCESS && is_string(&to, L"BEEF"));
    CHECK(RtlIntegerToUnicodeString(42, 0, &to) == STATUS_SUCCESS && is_string(&to, L"42"));
    CHECK(RtlIntegerToUnicodeString(1, 7, &to) == STATUS_INVALID_PARAMETER);
    CHECK(RtlIntegerToUnicodeString(12345678, 10, &to) == STATUS_BUFFER_OVERFLOW);
    PASS;
}

TEST(RtlInt64ToUnicodeString)
{
    UROOM(to, 30);
    CHECK(RtlInt64ToUnicodeString(0x123456789AULL, 16, &to) == STATUS_SUCCESS && is_string(&to, L"123456789A"));
    PASS;
}

TEST(RtlUnicodeStringToInteger)
{
    UTEXT(a, L" 0x1Fz");
    UTEXT(b, L"-7");
    ULONG value;
    CHECK(RtlUnicodeStringToInteger(&a, 0, &value) == STATUS_SUCCESS && value == 0x1F);
    CHECK(RtlUnicodeStringToInteger(&b, 10, &value) == STATUS_SUCCESS && value == (ULONG)-7);
    CHECK(RtlUnicodeStringToInteger(&b, 11, &value) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(RtlInitAnsiString)
{
    A string;
    RtlInitAnsiString(&string, "abc");
    CHECK(string.Length == 3 && string.MaximumLength == 4 && is_ansi(&string, "abc"));
    RtlInitAnsiString(&string, NULL);
    CHECK(!string.Buffer && !string.Length && !string.MaximumLength);
    PASS;
}

TEST(RtlInitString)
{
    A string;
    RtlInitString(&string, "ab");
    CHECK(is_ansi(&string, "ab"));
    PASS;
}

TEST(RtlInitAnsiStringEx)
{
    A string;
    CHECK(RtlInitAnsiStringEx(&string, "ab") == STATUS_SUCCESS && is_ansi(&string, "ab"));
    PASS;
}

TEST(RtlCopyString)
{
    ATEXT(from, "abc");
    AROOM(to, 2);
    RtlCopyString(&to, &from);
    CHECK(is_ansi(&to, "ab"));
    PASS;
}

TEST(RtlCompareString)
{
    ATEXT(a, "abc");
    ATEXT(b, "ABD");
    CHECK(RtlCompareString(&a, &b, FALSE) > 0 && RtlCompareString(&a, &b, TRUE) < 0);
    PASS;
}

TEST(RtlEqualString)
{
    ATEXT(a, "abc");
    ATEXT(b, "ABC");
    CHECK(RtlEqualString(&a, &b, TRUE) && !RtlEqualString(&a, &b, FALSE));
    PASS;
}

TEST(RtlPrefixString)
{
    ATEXT(a, "ab");
    ATEXT(b, "ABC");
    CHECK(RtlPrefixString(&a, &b, TRUE) && !RtlPrefixString(&a, &b, FALSE) && !RtlPrefixString(&b, &a, TRUE));
    PASS;
}

TEST(RtlUpperString)
{
    ATEXT(from, "ab\xE4");
    AROOM(to, 8);
    RtlUpperString(&to, &from);
    CHECK(is_ansi(&to, "AB\xC4"));
    PASS;
}

TEST(RtlUpperChar)
{
    CHECK(RtlUpperChar('a') == 'A' && RtlUpperChar('1') == '1');
    PASS;
}

TEST(RtlAppendAsciizToString)
{
    AROOM(to, 4);
    CHECK(RtlAppendAsciizToString(&to, "ab") == STATUS_SUCCESS && RtlAppendAsciizToString(&to, "cd") == STATUS_SUCCESS);
    CHECK(is_ansi(&to, "abcd") && RtlAppendAsciizToString(&to, "e") == STATUS_BUFFER_TOO_SMALL);
    PASS;
}

TEST(RtlAppendStringToString)
{
    AROOM(to, 4);
    ATEXT(from, "abc");
    CHECK(RtlAppendStringToString(&to, &from) == STATUS_SUCCESS && is_ansi(&to, "abc"));
    CHECK(RtlAppendStringToString(&to, &from) == STATUS_BUFFER_TOO_SMALL);
    PASS;
}

TEST(RtlAnsiStringToUnicodeString)
{
    ATEXT(from, "ab\x80");
    UROOM(to, 4);
    U made;
    CHECK(RtlAnsiStringToUnicodeString(&to, &from, FALSE) == STATUS_SUCCESS && is_string(&to, L"ab\x20AC"));
    CHECK(!to.Buffer[3]);
    to.MaximumLength = 4;
    CHECK(RtlAnsiStringToUnicodeString(&to, &from, FALSE) == STATUS_BUFFER_OVERFLOW);
    CHECK(RtlAnsiStringToUnicodeString(&made, &from, TRUE) == STATUS_SUCCESS && made.Length == 6 && made.MaximumLength == 8);
    RtlFreeUnicodeString(&made);
    PASS;
}

TEST(RtlOemStringToUnicodeString)
{
    ATEXT(from, "ab");
    UROOM(to, 4);
    CHECK(RtlOemStringToUnicodeString(&to, &from, FALSE) == STATUS_SUCCESS && is_string(&to, L"ab"));
    PASS;
}

TEST(RtlUnicodeStringToAnsiString)
{
    UTEXT(from, L"a\x20AC\x3042");
    AROOM(to, 4);
    A made;
    CHECK(RtlUnicodeStringToAnsiString(&to, &from, FALSE) == STATUS_SUCCESS && is_ansi(&to, "a\x80?") && !to.Buffer[3]);
    to.MaximumLength = 3;
    CHECK(RtlUnicodeStringToAnsiString(&to, &from, FALSE) == STATUS_BUFFER_OVERFLOW && is_ansi(&to, "a\x80"));
    CHECK(RtlUnicodeStringToAnsiString(&made, &from, TRUE) == STATUS_SUCCESS && made.MaximumLength == 4);
    RtlFreeAnsiString(&made);
    CHECK(!made.Buffer);
    PASS;
}
SAME(RtlFreeAnsiString, RtlUnicodeStringToAnsiString)

TEST(RtlUnicodeStringToOemString)
{
    UTEXT(from, L"ab");
    A made;
    CHECK(RtlUnicodeStringToOemString(&made, &from, TRUE) == STATUS_SUCCESS && is_ansi(&made, "ab"));
    RtlFreeOemString(&made);
    CHECK(!made.Buffer);
    PASS;
}
SAME(RtlFreeOemString, RtlUnicodeStringToOemString)

TEST(RtlUpcaseUnicodeStringToAnsiString)
{
    UTEXT(from, L"ab");
    AROOM(to, 4);
    CHECK(RtlUpcaseUnicodeStringToAnsiString(&to, &from, FALSE) == STATUS_SUCCESS && is_ansi(&to, "AB"));
    PASS;
}

TEST(RtlUpcaseUnicodeStringToOemString)
{
    UTEXT(from, L"ab");
    AROOM(to, 4);
    CHECK(RtlUpcaseUnicodeStringToOemString(&to, &from, FALSE) == STATUS_SUCCESS && is_ansi(&to, "AB"));
    PASS;
}

TEST(RtlCharToInteger)
{
    ULONG value;
    CHECK(RtlCharToInteger(" 0x10 ", 0, &value) == STATUS_SUCCESS && value == 16);
    CHECK(RtlCharToInteger("9", 3, &value) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(RtlAnsiCharToUnicodeChar)
{
    unsigned char text[] = "\x80y", *at = text;
    CHECK(RtlAnsiCharToUnicodeChar(&at) == 0x20AC && at == text + 1);
    PASS;
}

#define SIZE_OF(name, type, macro, text, size) TEST(name) { macro(string, text); CHECK(name(&string) == size); PASS; }
SIZE_OF(RtlAnsiStringToUnicodeSize, A, ATEXT, "abc", 8)
SIZE_OF(RtlxAnsiStringToUnicodeSize, A, ATEXT, "abc", 8)
SIZE_OF(RtlOemStringToUnicodeSize, A, ATEXT, "abc", 8)
SIZE_OF(RtlxOemStringToUnicodeSize, A, ATEXT, "abc", 8)
SIZE_OF(RtlUnicodeStringToAnsiSize, U, UTEXT, L"abc", 4)
SIZE_OF(RtlxUnicodeStringToAnsiSize, U, UTEXT, L"abc", 4)
SIZE_OF(RtlUnicodeStringToOemSize, U, UTEXT, L"abc", 4)
SIZE_OF(RtlxUnicodeStringToOemSize, U, UTEXT, L"abc", 4)

TEST(RtlMultiByteToUnicodeN)
{
    WCHAR to[4] = { 'x', 'x', 'x', 'x' };
    ULONG written;
    CHECK(RtlMultiByteToUnicodeN(to, 6, &written, "a\x80zq", 4) == STATUS_SUCCESS && written == 6);
    CHECK(same_bytes(to, L"a\x20ACzx", 8));
    PASS;
}

TEST(RtlOemToUnicodeN)
{
    WCHAR to[4];
    CHECK(RtlOemToUnicodeN(to, 8, NULL, "ab", 2) == STATUS_SUCCESS && same_bytes(to, L"ab", 4));
    PASS;
}

TEST(RtlMultiByteToUnicodeSize)
{
    ULONG size;
    CHECK(RtlMultiByteToUnicodeSize(&size, "abc", 3) == STATUS_SUCCESS && size == 6);
    PASS;
}

TEST(RtlUnicodeToMultiByteN)
{
    char to[4] = "xxx";
    ULONG written;
    CHECK(RtlUnicodeToMultiByteN(to, 2, &written, L"abc", 6) == STATUS_BUFFER_OVERFLOW && written == 2);
    CHECK(same_text(to, "abx"));
    PASS;
}

TEST(RtlUnicodeToOemN)
{
    char to[4] = "xxx";
    CHECK(RtlUnicodeToOemN(to, 3, NULL, L"ab", 4) == STATUS_SUCCESS && same_text(to, "abx"));
    PASS;
}

TEST(RtlUpcaseUnicodeToMultiByteN)
{
    char to[4] = "xxx";
    CHECK(RtlUpcaseUnicodeToMultiByteN(to, 3, NULL, L"ab", 4) == STATUS_SUCCESS && same_text(to, "ABx"));
    PASS;
}

TEST(RtlUnicodeToMultiByteSize)
{
    ULONG size;
    CHECK(RtlUnicodeToMultiByteSize(&size, L"abc", 6) == STATUS_SUCCESS && size == 3);
    PASS;
}

TEST(RtlUTF8ToUnicodeN)
{
    WCHAR to[4];
    ULONG written;
    CHECK(RtlUTF8ToUnicodeN(to, 8, &written, "\xE2\x82\xAC\xF0\x9F\x98\x80", 7) == STATUS_SUCCESS && written == 6);
    CHECK(to[0] == 0x20AC && to[1] == 0xD83D && to[2] == 0xDE00);
    CHECK(RtlUTF8ToUnicodeN(to, 8, &written, "a\xFF", 2) == STATUS_SOME_NOT_MAPPED && to[1] == 0xFFFD);
    CHECK(RtlUTF8ToUnicodeN(NULL, 0, &written, "abc", 3) == STATUS_SUCCESS && written == 6);
    CHECK(RtlUTF8ToUnicodeN(to, 2, &written, "abc", 3) == STATUS_BUFFER_TOO_SMALL && written == 2);
    PASS;
}

TEST(RtlUnicodeToUTF8N)
{
    char to[8];
    ULONG written;
    CHECK(RtlUnicodeToUTF8N(to, 8, &written, L"\x20AC\xD83D\xDE00", 6) == STATUS_SUCCESS && written == 7);
    CHECK(same_bytes(to, "\xE2\x82\xAC\xF0\x9F\x98\x80", 7));
    CHECK(RtlUnicodeToUTF8N(to, 8, &written, L"\xD83Dx", 4) == STATUS_SOME_NOT_MAPPED);
    CHECK(RtlUnicodeToUTF8N(to, 2, &written, L"\x20AC", 2) == STATUS_BUFFER_TOO_SMALL && written == 0);
    PASS;
}

static const GUID guid = { 0x6994AD05, 0x93EF, 0x11D0, { 0xA3, 0xCC, 0x00, 0xA0, 0xC9, 0x22, 0x31, 0x96 } };

TEST(RtlStringFromGUID)
{
    U text;
    CHECK(RtlStringFromGUID(&guid, &text) == STATUS_SUCCESS);
    CHECK(is_string(&text, L"{6994AD05-93EF-11D0-A3CC-00A0C9223196}"));
    RtlFreeUnicodeString(&text);
    PASS;
}

TEST(RtlGUIDFromString)
{
    UTEXT(text, L"{6994ad05-93EF-11D0-A3CC-00A0C9223196}");
    UTEXT(bad, L"{6994ad05-93EF-11D0-A3CC-00A0C922319}");
    GUID read;
    CHECK(RtlGUIDFromString(&text, &read) == STATUS_SUCCESS && same_bytes(&read, &guid, sizeof guid));
    CHECK(RtlGUIDFromString(&bad, &read) == STATUS_INVALID_PARAMETER);
    PASS;
}

TEST(ExUuidCreate)
{
    GUID a, b;
    CHECK(ExUuidCreate(&a) == STATUS_SUCCESS && ExUuidCreate(&b) == STATUS_SUCCESS && !same_bytes(&a, &b, sizeof a));
    CHECK(a.Data3 >> 12 == 4 && a.Data4[0] >> 6 == 2);
    PASS;
}
