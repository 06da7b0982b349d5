/* The C runtime of the kernel. */
#include "kernel2.h"

#define C(type, name, arguments) __declspec(dllimport) type __cdecl name arguments;
typedef int comparison(const void *, const void *);
#undef _stricmp
#undef _strnicmp
#undef _wcsicmp
#undef _wcsnicmp

C(void *, memcpy, (void *, const void *, size_t))
C(void *, memmove, (void *, const void *, size_t))
C(void *, memset, (void *, int, size_t))
C(int, memcmp, (const void *, const void *, size_t))
C(void *, memchr, (const void *, int, size_t))
C(int, memcpy_s, (void *, size_t, const void *, size_t))
C(int, memmove_s, (void *, size_t, const void *, size_t))
C(size_t, strlen, (const char *))
C(size_t, strnlen, (const char *, size_t))
C(int, strcmp, (const char *, const char *))
C(int, strncmp, (const char *, const char *, size_t))
C(int, _stricmp, (const char *, const char *))
C(int, _strnicmp, (const char *, const char *, size_t))
C(char *, strcpy, (char *, const char *))
C(char *, strncpy, (char *, const char *, size_t))
C(char *, strcat, (char *, const char *))
C(char *, strncat, (char *, const char *, size_t))
C(char *, strchr, (const char *, int))
C(char *, strrchr, (const char *, int))
C(char *, strstr, (const char *, const char *))
C(size_t, strspn, (const char *, const char *))
C(int, strcpy_s, (char *, size_t, const char *))
C(int, strncpy_s, (char *, size_t, const char *, size_t))
C(int, strcat_s, (char *, size_t, const char *))
C(int, strncat_s, (char *, size_t, const char *, size_t))
C(char *, _strlwr, (char *))
C(char *, _strupr, (char *))
C(char *, _strrev, (char *))
C(char *, _strset, (char *, int))
C(char *, _strnset, (char *, int, size_t))
C(char *, strtok_s, (char *, const char *, char **))
C(size_t, wcslen, (const WCHAR *))
C(size_t, wcsnlen, (const WCHAR *, size_t))
C(int, wcscmp, (const WCHAR *, const WCHAR *))
C(int, wcsncmp, (const WCHAR *, const WCHAR *, size_t))
C(int, _wcsicmp, (const WCHAR *, const WCHAR *))
C(int, _wcsnicmp, (const WCHAR *, const WCHAR *, size_t))
C(WCHAR *, wcscpy, (WCHAR *, const WCHAR *))
C(WCHAR *, wcsncpy, (WCHAR *, const WCHAR *, size_t))
C(WCHAR *, wcscat, (WCHAR *, const WCHAR *))
C(WCHAR *, wcsncat, (WCHAR *, const WCHAR *, size_t))
C(WCHAR *, wcschr, (const WCHAR *, WCHAR))
C(WCHAR *, wcsrchr, (const WCHAR *, WCHAR))
C(WCHAR *, wcsstr, (const WCHAR *, const WCHAR *))
C(size_t, wcsspn, (const WCHAR *, const WCHAR *))
C(size_t, wcscspn, (const WCHAR *, const WCHAR *))
C(int, wcscpy_s, (WCHAR *, size_t, const WCHAR *))
C(int, wcsncpy_s, (WCHAR *, size_t, const WCHAR *, size_t))
C(int, wcscat_s, (WCHAR *, size_t, const WCHAR *))
C(int, wcsncat_s, (WCHAR *, size_t, const WCHAR *, size_t))
C(WCHAR *, _wcslwr, (WCHAR *))
C(WCHAR *, _wcsupr, (WCHAR *))
C(WCHAR *, _wcsrev, (WCHAR *))
C(WCHAR *, _wcsnset, (WCHAR *, WCHAR, size_t))
C(int, isdigit, (int))
C(int, islower, (int))
C(int, isupper, (int))
C(int, isxdigit, (int))
C(int, isprint, (int))
C(int, isspace, (int))
C(int, tolower, (int))
C(int, toupper, (int))
C(WCHAR, towlower, (WCHAR))
C(WCHAR, towupper, (WCHAR))
C(int, atoi, (const char *))
C(long, atol, (const char *))
C(int, _wtoi, (const WCHAR *))
C(long, _wtol, (const WCHAR *))
C(unsigned long, wcstoul, (const WCHAR *, WCHAR **, int))
C(unsigned __int64, _strtoui64, (const char *, char **, int))
C(char *, _itoa, (int, char *, int))
C(WCHAR *, _itow, (int, WCHAR *, int))
C(int, _itoa_s, (int, char *, size_t, int))
C(int, _itow_s, (int, WCHAR *, size_t, int))
C(int, _ltoa_s, (long, char *, size_t, int))
C(int, _ltow_s, (long, WCHAR *, size_t, int))
C(int, _ultoa_s, (unsigned long, char *, size_t, int))
C(int, _ultow_s, (unsigned long, WCHAR *, size_t, int))
C(int, _i64toa_s, (__int64, char *, size_t, int))
C(int, _i64tow_s, (__int64, WCHAR *, size_t, int))
C(int, _ui64toa_s, (unsigned __int64, char *, size_t, int))
C(int, _ui64tow_s, (unsigned __int64, WCHAR *, size_t, int))
C(size_t, mbstowcs, (WCHAR *, const char *, size_t))
C(size_t, wcstombs, (char *, const WCHAR *, size_t))
C(int, mbtowc, (WCHAR *, const char *, size_t))
C(int, wctomb, (char *, WCHAR))
C(void, qsort, (void *, size_t, size_t, comparison *))
C(void *, bsearch, (const void *, const void *, size_t, size_t, comparison *))
C(int, rand, (void))
C(void, srand, (unsigned))

TEST(memcpy)
{
    char a[8] = "abcdefg", b[8] = { 0 };
    CHECK(memcpy(b, a, 4) == b && same_bytes(b, "abcd\0\0\0\0", 8));
    PASS;
}

TEST(memmove)
{
    char a[8] = "abcdefg";
    CHECK(memmove(a + 2, a, 5) == a + 2 && same_bytes(a, "ababcde", 8));
    CHECK(memmove(a, a + 2, 5) == a && same_bytes(a, "abcdede", 8));
    PASS;
}

TEST(memset)
{
    char a[4] = "xyz";
    CHECK(memset(a + 1, 0x141, 2) == a + 1 && same_bytes(a, "xAA", 4));
    PASS;
}

TEST(memcmp)
{
    CHECK(memcmp("abc", "abd", 2) == 0 && memcmp("abc", "abd", 3) < 0 && memcmp("\xFF", "\x01", 1) > 0);
    PASS;
}

TEST(memchr)
{
    const char *text = "hello";
    CHECK(memchr(text, 'l', 5) == text + 2 && !memchr(text, 'o', 4));
    PASS;
}

TEST(memcpy_s)
{
    char a[4] = "xyz";
    CHECK(memcpy_s(a, 4, "ab", 2) == 0 && same_bytes(a, "abz", 4));
    CHECK(memcpy_s(a, 2, "abc", 3) == 34 && same_bytes(a, "\0\0z", 4));
    CHECK(memcpy_s(NULL, 2, "abc", 3) == 22);
    PASS;
}

TEST(memmove_s)
{
    char a[8] = "abcdefg";
    CHECK(memmove_s(a + 1, 7, a, 3) == 0 && same_bytes(a, "aabcefg", 8));
    CHECK(memmove_s(a, 2, "xyz", 3) == 34 && a[0] == 'a');
    PASS;
}

/* The routines for bytes and for UTF-16, by one text. */
#define STRINGS(T, L, len, nlen, cmp, ncmp, icmp, nicmp, cpy, ncpy, cat, ncat, chr, rchr, str, spn, same) \
    TEST(len) { CHECK(len(L("")) == 0 && len(L("abc")) == 3); PASS; } \
    TEST(nlen) { CHECK(nlen(L("abc"), 2) == 2 && nlen(L("abc"), 9) == 3); PASS; } \
    TEST(cmp) { CHECK(cmp(L("abc"), L("abc")) == 0 && cmp(L("abc"), L("abd")) < 0 && cmp(L("abc"), L("ab")) > 0); PASS; } \
    TEST(ncmp) { CHECK(ncmp(L("abc"), L("abd"), 2) == 0 && ncmp(L("abc"), L("abd"), 3) < 0); PASS; } \
    TEST(icmp) { CHECK(icmp(L("AbC"), L("aBc")) == 0 && icmp(L("a"), L("B")) < 0); PASS; } \
    TEST(nicmp) { CHECK(nicmp(L("ABx"), L("aby"), 2) == 0 && nicmp(L("ABx"), L("aby"), 3) < 0); PASS; } \
    TEST(cpy) { T a[8]; CHECK(cpy(a, L("abc")) == a && same(a, L("abc"))); PASS; } \
    TEST(ncpy) { T a[6]; a[5] = 'z'; a[4] = 'y'; CHECK(ncpy(a, L("ab"), 5) == a && same(a, L("ab")) && !a[4] && a[5] == 'z'); \
        ncpy(a, L("xyz"), 2); CHECK(a[0] == 'x' && a[1] == 'y' && !a[2]); PASS; } \
    TEST(cat) { T a[8]; a[0] = 'x'; a[1] = 0; CHECK(cat(a, L("yz")) == a && same(a, L("xyz"))); PASS; } \
    TEST(ncat) { T a[8]; a[0] = 'x'; a[1] = 0; a[3] = 'q'; CHECK(ncat(a, L("yz"), 1) == a && same(a, L("xy"))); PASS; } \
    TEST(chr) { const T *a = L("abca"); CHECK(chr(a, 'b') == a + 1 && chr(a, 0) == a + 4 && !chr(a, 'z')); PASS; } \
    TEST(rchr) { const T *a = L("abca"); CHECK(rchr(a, 'a') == a + 3 && rchr(a, 0) == a + 4 && !rchr(a, 'z')); PASS; } \
    TEST(str) { const T *a = L("aabab"); CHECK(str(a, L("ab")) == a + 1 && str(a, L("")) == a && !str(a, L("bb")) && !str(L("a"), a)); PASS; } \
    TEST(spn) { CHECK(spn(L("aabcx"), L("ab")) == 3 && spn(L("x"), L("ab")) == 0 && spn(L("ab"), L("ab")) == 2); PASS; }

#define NARROW(text) text
#define WIDE(text) L##text
STRINGS(char, NARROW, strlen, strnlen, strcmp, strncmp, _stricmp, _strnicmp, strcpy, strncpy, strcat, strncat, strchr,
        strrchr, strstr, strspn, same_text)
STRINGS(WCHAR, WIDE, wcslen, wcsnlen, wcscmp, wcsncmp, _wcsicmp, _wcsnicmp, wcscpy, wcsncpy, wcscat, wcsncat, wcschr,
        wcsrchr, wcsstr, wcsspn, same_wide)

#define CHECKED(T, L, cpy_s, ncpy_s, cat_s, ncat_s, lwr, upr, rev, nset, same) \
    TEST(cpy_s) { T a[4]; CHECK(cpy_s(a, 4, L("abc")) == 0 && same(a, L("abc"))); \
        CHECK(cpy_s(a, 4, L("abcd")) == 34 && !a[0]); CHECK(cpy_s(a, 4, NULL) == 22 && cpy_s(a, 0, L("")) == 22); PASS; } \
    TEST(ncpy_s) { T a[4]; CHECK(ncpy_s(a, 4, L("abcdef"), 2) == 0 && same(a, L("ab"))); \
        CHECK(ncpy_s(a, 4, L("abcdef"), 4) == 34 && !a[0]); \
        CHECK(ncpy_s(a, 4, L("abcdef"), (size_t)-1) == 80 && same(a, L("abc"))); PASS; } \
    TEST(cat_s) { T a[4]; a[0] = 'x'; a[1] = 0; CHECK(cat_s(a, 4, L("yz")) == 0 && same(a, L("xyz"))); \
        CHECK(cat_s(a, 4, L("q")) == 34 && !a[0]); a[0] = a[1] = a[2] = a[3] = 'z'; CHECK(cat_s(a, 4, L("")) == 22); PASS; } \
    TEST(ncat_s) { T a[4]; a[0] = 'x'; a[1] = 0; CHECK(ncat_s(a, 4, L("yzq"), 2) == 0 && same(a, L("xyz"))); \
        a[1] = 0; CHECK(ncat_s(a, 4, L("yzq"), (size_t)-1) == 80 && same(a, L("xyz"))); PASS; } \
    TEST(lwr) { T a[4]; a[0] = 'A'; a[1] = 'z'; a[2] = '['; a[3] = 0; CHECK(lwr(a) == a && same(a, L("az["))); PASS; } \
    TEST(upr) { T a[4]; a[0] = 'a'; a[1] = 'Z'; a[2] = '{'; a[3] = 0; CHECK(upr(a) == a && same(a, L("AZ{"))); PASS; } \
    TEST(rev) { T a[4]; a[0] = 'a'; a[1] = 'b'; a[2] = 'c'; a[3] = 0; CHECK(rev(a) == a && same(a, L("cba"))); PASS; } \
    TEST(nset) { T a[4]; a[0] = 'a'; a[1] = 'b'; a[2] = 'c'; a[3] = 0; CHECK(nset(a, 'x', 2) == a && same(a, L("xxc"))); \
        nset(a, 'y', 9); CHECK(same(a, L("yyy"))); PASS; }

CHECKED(char, NARROW, strcpy_s, strncpy_s, strcat_s, strncat_s, _strlwr, _strupr, _strrev, _strnset, same_text)
CHECKED(WCHAR, WIDE, wcscpy_s, wcsncpy_s, wcscat_s, wcsncat_s, _wcslwr, _wcsupr, _wcsrev, _wcsnset, same_wide)

TEST(_strset)
{
    char a[4] = "abc";
    CHECK(_strset(a, 'x') == a && same_text(a, "xxx"));
    PASS;
}

TEST(wcscspn)
{
    CHECK(wcscspn(L"abcx", L"xc") == 2 && wcscspn(L"ab", L"x") == 2);
    PASS;
}

TEST(strtok_s)
{
    char a[] = "  one, two", *context;
    CHECK(same_text(strtok_s(a, " ,", &context), "one"));
    CHECK(same_text(strtok_s(NULL, " ,", &context), "two"));
    CHECK(!strtok_s(NULL, " ,", &context));
    PASS;
}

#define CLASS(name, yes, no) TEST(name) { CHECK(name(yes) && !name(no) && !name(-1) && !name(0x1F600)); PASS; }
CLASS(isdigit, '7', 'a')
CLASS(islower, 'a', 'A')
CLASS(isupper, 'A', 'a')
CLASS(isxdigit, 'f', 'g')
CLASS(isprint, ' ', '\n')
CLASS(isspace, '\t', 'x')

TEST(tolower) { CHECK(tolower('A') == 'a' && tolower('[') == '[' && tolower(-1) == -1); PASS; }
TEST(toupper) { CHECK(toupper('a') == 'A' && toupper('{') == '{'); PASS; }
TEST(towlower) { CHECK(towlower(L'A') == L'a' && towlower(0xC4) == 0xE4); PASS; }
TEST(towupper) { CHECK(towupper(L'a') == L'A' && towupper(0xE4) == 0xC4); PASS; }

#define DECIMAL(name, L) TEST(name) { CHECK(name(L(" -12x")) == -12 && name(L("+7")) == 7 && name(L("x")) == 0); PASS; }
DECIMAL(atoi, NARROW)
DECIMAL(atol, NARROW)
DECIMAL(_wtoi, WIDE)
DECIMAL(_wtol, WIDE)

TEST(wcstoul)
{
    const WCHAR *text = L" 0x1Fz";
    WCHAR *end;
    CHECK(wcstoul(text, &end, 0) == 0x1F && end == text + 5);
    CHECK(wcstoul(L"017", NULL, 0) == 15 && wcstoul(L"zz", NULL, 36) == 35 * 36 + 35);
    CHECK(wcstoul(L"99999999999", NULL, 10) == 0xFFFFFFFF && wcstoul(L"-1", NULL, 10) == 0xFFFFFFFF);
    text = L"none";
    CHECK(wcstoul(text, &end, 10) == 0 && end == text);
    PASS;
}

TEST(_strtoui64)
{
    char *end;
    CHECK(_strtoui64("18446744073709551615!", &end, 10) == ~0ULL && *end == '!');
    CHECK(_strtoui64("0xffffffffff", NULL, 16) == 0xFFFFFFFFFF);
    PASS;
}

TEST(_itoa)
{
    char a[40];
    CHECK(_itoa(-12, a, 10) == a && same_text(a, "-12") && same_text(_itoa(-1, a, 16), "ffffffff"));
    CHECK(same_text(_itoa(5, a, 2), "101") && same_text(_itoa(0, a, 10), "0"));
    PASS;
}

TEST(_itow)
{
    WCHAR a[40];
    CHECK(same_wide(_itow(-12, a, 10), L"-12") && same_wide(_itow(255, a, 16), L"ff"));
    PASS;
}

#define SIGNED_TEXT(name, T, L, same) TEST(name) { T a[8]; CHECK(name(-123, a, 8, 10) == 0 && same(a, L("-123"))); \
    CHECK(name(123456, a, 6, 10) == 34 && !a[0]); CHECK(name(1, a, 8, 1) == 22 && name(1, NULL, 8, 10) == 22); PASS; }
#define UNSIGNED_TEXT(name, T, L, same) TEST(name) { T a[8]; CHECK(name(0xBEEF, a, 8, 16) == 0 && same(a, L("beef"))); \
    CHECK(name(123456, a, 6, 10) == 34 && !a[0]); CHECK(name(1, a, 8, 37) == 22); PASS; }
SIGNED_TEXT(_itoa_s, char, NARROW, same_text)
SIGNED_TEXT(_itow_s, WCHAR, WIDE, same_wide)
SIGNED_TEXT(_ltoa_s, char, NARROW, same_text)
SIGNED_TEXT(_ltow_s, WCHAR, WIDE, same_wide)
SIGNED_TEXT(_i64toa_s, char, NARROW, same_text)
SIGNED_TEXT(_i64tow_s, WCHAR, WIDE, same_wide)
UNSIGNED_TEXT(_ultoa_s, char, NARROW, same_text)
UNSIGNED_TEXT(_ultow_s, WCHAR, WIDE, same_wide)
UNSIGNED_TEXT(_ui64toa_s, char, NARROW, same_text)
UNSIGNED_TEXT(_ui64tow_s, WCHAR, WIDE, same_wide)

TEST(mbstowcs)
{
    WCHAR a[8];
    CHECK(mbstowcs(a, "ab\x80", 8) == 3 && same_wide(a, L"ab\x20AC") && mbstowcs(NULL, "abcd", 0) == 4);
    PASS;
}

TEST(wcstombs)
{
    char a[8];
    CHECK(wcstombs(a, L"ab\x20AC", 8) == 3 && same_text(a, "ab\x80"));
    CHECK(wcstombs(a, L"\x3042", 8) == (size_t)-1);
    PASS;
}

TEST(mbtowc)
{
    WCHAR wide;
    CHECK(mbtowc(&wide, "\x80", 1) == 1 && wide == 0x20AC && mbtowc(&wide, "", 1) == 0);
    PASS;
}

TEST(wctomb)
{
    char byte;
    CHECK(wctomb(&byte, 0x20AC) == 1 && byte == (char)0x80 && wctomb(&byte, 0x3042) == -1);
    PASS;
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

TEST(qsort)
{
    int a[100], at;
    for (at = 0; at < 100; at++)
        a[at] = at * 37 % 100;
    qsort(a, 100, sizeof *a, by_number);
    for (at = 0; at < 100; at++)
        CHECK(a[at] == at);
    PASS;
}

TEST(bsearch)
{
    int a[] = { 1, 3, 5, 7 }, key = 5, none = 4;
    CHECK(bsearch(&key, a, 4, sizeof *a, by_number) == a + 2 && !bsearch(&none, a, 4, sizeof *a, by_number));
    PASS;
}

TEST(rand)
{
    int first, second;
    srand(7);
    first = rand();
    second = rand();
    CHECK(first >= 0 && first <= 0x7FFF && first != second);
    srand(7);
    CHECK(rand() == first && rand() == second);
    PASS;
}
SAME(srand, rand)

/* A frame above a page makes MSVC call __chkstk with its size in rax; every register must live on. */
TEST(__chkstk)
{
    PVOID routine = routine_of(L"__chkstk");
    unsigned long long rax = 8192, rcx = 1, rdx = 2;
    CHECK(routine);
    {
        register unsigned long long r8 __asm__("r8") = 3;
        register unsigned long long r9 __asm__("r9") = 4;
        register PVOID r11 __asm__("r11") = routine;
        __asm__ volatile("sub $40, %%rsp\n\tcall *%%r11\n\tadd $40, %%rsp"
                         : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r11) : : "memory", "cc");
        CHECK(rax == 8192 && rcx == 1 && rdx == 2 && r8 == 3 && r9 == 4 && r11 == routine);
    }
    PASS;
}
