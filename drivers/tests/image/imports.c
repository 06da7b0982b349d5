/* Imports that nobody exports, two of them called. */
#include <ntddk.h>
#include "testing.h"

NTKERNELAPI NTSTATUS NTAPI FsRtlRegisterUncProvider(PHANDLE handle, PUNICODE_STRING name, BOOLEAN mailslots);

TEST(missing_routines_say_so)
{
    int i;
    for (i = 0; i < 3; i++)
        CHECK(IoSetPartitionInformationEx(NULL, 1, NULL) == STATUS_NOT_IMPLEMENTED);
    CHECK(FsRtlRegisterUncProvider(NULL, NULL, FALSE) == STATUS_NOT_IMPLEMENTED);
    PASS;
}
