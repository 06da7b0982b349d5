/*
 * Tests that run inside of a driver. A driver of tests has nothing but these; the Rust side loads it and calls each:
 *
 *     #include <ntddk.h>
 *     #include "testing.h"
 *     TEST(an_event_is_set)
 *     {
 *         KEVENT event;
 *         KeInitializeEvent(&event, NotificationEvent, TRUE);
 *         CHECK(KeReadStateEvent(&event) != 0);
 *         PASS;
 *     }
 *
 * Include it once in a driver, after ntddk.h; it brings a DriverEntry of its own unless TESTING_OWN_ENTRY is defined.
 */
#ifndef USERKS_TESTING_H
#define USERKS_TESTING_H

#ifdef __cplusplus
#define TESTING_C extern "C"
#else
#define TESTING_C
#endif

#define TESTING_TEXT(x) TESTING_TEXT_(x)
#define TESTING_TEXT_(x) #x

/* An exported routine test_NAME, which returns NULL or what failed. */
#define TEST(name) \
    TESTING_C __declspec(dllexport) const char *test_##name(void); \
    TESTING_C const char *test_##name(void)

/* Ends the test unless the condition holds. */
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            return __FILE__ ":" TESTING_TEXT(__LINE__) ": " #condition; \
    } while (0)

#define PASS return NULL

#ifndef TESTING_OWN_ENTRY
TESTING_C DRIVER_INITIALIZE DriverEntry;
TESTING_C NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void)driver;
    (void)path;
    return STATUS_SUCCESS;
}
#endif

#endif
