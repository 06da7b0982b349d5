/*
 * What the drivers of this directory share. Every name that the kernel's files of strings, formats, registry, files, I/O
 * and the like export has a TEST of its own name; SAME gives a name the test of another whose test calls both.
 */
#ifndef USERKS_KERNEL2_H
#define USERKS_KERNEL2_H

#include <ntddk.h>
#include "testing.h"

#define SAME(name, other) \
    __declspec(dllexport) const char *test_##name(void); \
    const char *test_##name(void) { return test_##other(); }

/* A routine that the headers or the import library do not have; found as a driver of many versions finds it. */
#define ROUTINE_OF_TYPE(name) ((name##_t *)routine_of(L"" #name))

static inline PVOID routine_of(PCWSTR name)
{
    UNICODE_STRING string;
    RtlInitUnicodeString(&string, name);
    return MmGetSystemRoutineAddress(&string);
}

/* Equality of bytes, without the routines under test. */
static inline int same_bytes(const void *a, const void *b, unsigned long long length)
{
    const volatile unsigned char *x = a, *y = b;
    while (length--)
        if (*x++ != *y++)
            return 0;
    return 1;
}

static inline int same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline int same_wide(const WCHAR *a, const WCHAR *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* A counted string equals a literal. */
static inline int is_string(const UNICODE_STRING *string, const WCHAR *text)
{
    USHORT at;
    for (at = 0; at < string->Length / 2; at++)
        if (!text[at] || string->Buffer[at] != text[at])
            return 0;
    return !text[at];
}

static inline int is_ansi(const ANSI_STRING *string, const char *text)
{
    USHORT at;
    for (at = 0; at < string->Length; at++)
        if (!text[at] || string->Buffer[at] != text[at])
            return 0;
    return !text[at];
}

#endif
