/* The smallest driver of tests: code, data, a relocated pointer and one import. */
#include <ntddk.h>
#include "testing.h"

static int answer = 42;
static int *volatile pointer_to_answer = &answer;
static const char *const words[] = {"one", "two"};
static int zeroed[2000];

TEST(a_relocated_pointer_reaches_its_variable)
{
    CHECK(pointer_to_answer == &answer);
    CHECK(*pointer_to_answer == 42);
    answer++;
    CHECK(*pointer_to_answer == 43);
    answer--;
    PASS;
}

TEST(constants_and_zeroed_data_are_there)
{
    int i;
    CHECK(words[1][0] == 't');
    for (i = 0; i < 2000; i++)
        CHECK(zeroed[i] == 0);
    zeroed[1999] = 1;
    PASS;
}

TEST(an_import_is_called)
{
    CHECK(MmGetSystemRoutineAddress(NULL) == (PVOID)(ULONG_PTR)0x1234);
    PASS;
}
