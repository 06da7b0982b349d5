/*
 * What the sample drivers without a media format share: a data range of plain bytes, and the entry of the driver.
 */
#ifndef USERKS_BYTES_H
#define USERKS_BYTES_H

#ifdef __cplusplus
/* In C++, mingw-w64's kernel headers define these twice, and leave the words of COM to others. */
#define __INTRINSIC_DEFINED_InterlockedBitTestAndSet
#define __INTRINSIC_DEFINED_InterlockedBitTestAndReset
#define DECLSPEC_NOVTABLE
#define DECLSPEC_NOTHROW __attribute__((nothrow))
extern "C" {
#endif
#include <ntddk.h>
#include <windef.h>
#include <punknown.h>
#include <ks.h>
#ifdef __cplusplus
}
#endif

/* KSDATAFORMAT_TYPE_STREAM, no subtype, no specifier: samples of `bytes` bytes. */
#define BYTES_RANGE(bytes)                                                                                             \
    {                                                                                                                  \
        {sizeof(KSDATARANGE), 0, (bytes), 0, {0xe436eb83, 0x524f, 0x11ce, {0x9f, 0x53, 0x00, 0x20, 0xaf, 0x0b, 0xa7, 0x70}}, \
         {0xe436eb8e, 0x524f, 0x11ce, {0x9f, 0x53, 0x00, 0x20, 0xaf, 0x0b, 0xa7, 0x70}},                                \
         {0x0f6417d6, 0xc318, 0x11d0, {0xa4, 0x3f, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}}}                                \
    }

#define CATEGORY_CAPTURE_GUID 0x65e8773d, 0x8f56, 0x11d0, {0xa3, 0xb9, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}
#define CATEGORY_RENDER_GUID 0x65e8773e, 0x8f56, 0x11d0, {0xa3, 0xb9, 0x00, 0xa0, 0xc9, 0x22, 0x31, 0x96}

static inline BOOLEAN IsGuid(const GUID *left, const GUID *right)
{
    return RtlCompareMemory(left, right, sizeof(GUID)) == sizeof(GUID);
}

#endif
