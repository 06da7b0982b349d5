/* Queues of requests that can be cancelled. */
#include "low_level.h"

enum { REQUESTS = 4 };

static LIST_ENTRY Queue, Other;
static KSPIN_LOCK Lock, OtherLock;
static struct asked Asked[REQUESTS];
static ULONG Cancels, Callbacks, Ends;
static KIRQL CallbackLevel;
static KSLIST_ENTRY_LOCATION Where;
static PDRIVER_CANCEL Own;
static BOOLEAN CancelFirst;

static NTSTATUS Enqueue(PDEVICE_OBJECT device, PIRP irp)
{
    IoMarkIrpPending(irp);
    if (CancelFirst)
        IoCancelIrp(irp);
    KsAddIrpToCancelableQueue(&Queue, &Lock, irp, Where, Own);
    return STATUS_PENDING;
}

static const char *Fill(int requests)
{
    int at;
    InitializeListHead(&Queue);
    InitializeListHead(&Other);
    KeInitializeSpinLock(&Lock);
    KeInitializeSpinLock(&OtherLock);
    CHECK(MakeDevice(Enqueue) == STATUS_SUCCESS);
    for (at = 0; at < requests; at++)
        CHECK(Send(&Asked[at], IOCTL_KS_METHOD, NULL, 0, NULL, 0) == STATUS_PENDING);
    PASS;
}

static void Complete(PIRP irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
}

static NTSTATUS Outcome(int at)
{
    return KeReadStateEvent(&Asked[at].Done) ? Asked[at].Status.Status : STATUS_PENDING;
}

TEST(KsAddIrpToCancelableQueue)
{
    const char *failed;
    Where = KsListEntryTail;
    Own = NULL;
    CancelFirst = FALSE;
    failed = Fill(3);
    if (failed)
        return failed;
    CHECK(Queue.Flink == &Asked[0].Irp->Tail.Overlay.ListEntry && Queue.Blink == &Asked[2].Irp->Tail.Overlay.ListEntry);
    CHECK(Asked[1].Irp->CancelRoutine == KsCancelRoutine && KSQUEUE_SPINLOCK_IRP_STORAGE(Asked[1].Irp) == &Lock);
    CHECK(IoCancelIrp(Asked[1].Irp) && Outcome(1) == STATUS_CANCELLED && KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(Outcome(0) == STATUS_PENDING && Outcome(2) == STATUS_PENDING);
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryTail, KsAcquireAndRemove) == Asked[2].Irp);
    CHECK(!Asked[2].Irp->CancelRoutine && !IoCancelIrp(Asked[2].Irp));
    Complete(Asked[2].Irp, STATUS_SUCCESS);
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireAndRemove) == Asked[0].Irp);
    CHECK(!KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireAndRemove) && IsListEmpty(&Queue));
    Complete(Asked[0].Irp, STATUS_SUCCESS);
    /* One that was cancelled before it came is cancelled at once. */
    CancelFirst = TRUE;
    CHECK(Send(&Asked[0], IOCTL_KS_METHOD, NULL, 0, NULL, 0) == STATUS_PENDING);
    CHECK(Outcome(0) == STATUS_CANCELLED && IsListEmpty(&Queue));
    CancelFirst = FALSE;
    Where = KsListEntryHead;
    CHECK(Send(&Asked[0], IOCTL_KS_METHOD, NULL, 0, NULL, 0) == STATUS_PENDING);
    CHECK(Send(&Asked[1], IOCTL_KS_METHOD, NULL, 0, NULL, 0) == STATUS_PENDING);
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireAndRemove) == Asked[1].Irp);
    Complete(Asked[1].Irp, STATUS_SUCCESS);
    KsCancelIo(&Queue, &Lock);
    CHECK(Outcome(0) == STATUS_CANCELLED);
    DropDevice();
    PASS;
}
SAME(KsCancelRoutine, KsAddIrpToCancelableQueue)

TEST(KsRemoveIrpFromCancelableQueue)
{
    const char *failed;
    Where = KsListEntryTail;
    Own = NULL;
    failed = Fill(3);
    if (failed)
        return failed;
    /* Acquired requests stay where they are; they cannot be cancelled and are passed over. */
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireOnly) == Asked[0].Irp);
    CHECK(Queue.Flink == &Asked[0].Irp->Tail.Overlay.ListEntry && !IoCancelIrp(Asked[0].Irp));
    CHECK(!KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireOnlySingleItem));
    CHECK(!KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireAndRemoveOnlySingleItem));
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireOnly) == Asked[1].Irp);
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryTail, KsAcquireAndRemoveOnlySingleItem) == Asked[2].Irp);
    Complete(Asked[2].Irp, STATUS_SUCCESS);
    /* Released, the one that was cancelled meanwhile ends; the other waits on. */
    KsReleaseIrpOnCancelableQueue(Asked[1].Irp, NULL);
    CHECK(Outcome(1) == STATUS_PENDING && Asked[1].Irp->CancelRoutine == KsCancelRoutine);
    KsReleaseIrpOnCancelableQueue(Asked[0].Irp, NULL);
    CHECK(Outcome(0) == STATUS_CANCELLED);
    CHECK(KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireOnly) == Asked[1].Irp);
    KsRemoveSpecificIrpFromCancelableQueue(Asked[1].Irp);
    CHECK(IsListEmpty(&Queue));
    Complete(Asked[1].Irp, STATUS_SUCCESS);
    DropDevice();
    PASS;
}
SAME(KsRemoveSpecificIrpFromCancelableQueue, KsRemoveIrpFromCancelableQueue)
SAME(KsReleaseIrpOnCancelableQueue, KsRemoveIrpFromCancelableQueue)

static VOID NTAPI OwnCancel(PDEVICE_OBJECT device, PIRP irp)
{
    KIRQL level = irp->CancelIrql;
    Cancels++;
    KeAcquireSpinLockAtDpcLevel(KSQUEUE_SPINLOCK_IRP_STORAGE(irp));
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    KeReleaseSpinLockFromDpcLevel(KSQUEUE_SPINLOCK_IRP_STORAGE(irp));
    IoReleaseCancelSpinLock(level);
    Complete(irp, device == Device ? STATUS_CANCELLED : STATUS_UNSUCCESSFUL);
}

TEST(KsCancelIo)
{
    const char *failed;
    PIRP acquired;
    Where = KsListEntryTail;
    Own = OwnCancel;
    Cancels = 0;
    failed = Fill(3);
    if (failed)
        return failed;
    acquired = KsRemoveIrpFromCancelableQueue(&Queue, &Lock, KsListEntryHead, KsAcquireOnly);
    KsCancelIo(&Queue, &Lock);
    CHECK(Cancels == 2 && Outcome(1) == STATUS_CANCELLED && Outcome(2) == STATUS_CANCELLED);
    CHECK(acquired == Asked[0].Irp && acquired->Cancel && Outcome(0) == STATUS_PENDING);
    KsReleaseIrpOnCancelableQueue(acquired, OwnCancel);
    CHECK(Cancels == 3 && Outcome(0) == STATUS_CANCELLED && IsListEmpty(&Queue));
    DropDevice();
    PASS;
}

static NTSTATUS NTAPI Choose(PIRP irp, PVOID context)
{
    Callbacks++;
    CallbackLevel = KeGetCurrentIrql();
    if (!irp) {
        Ends++;
        return STATUS_SUCCESS;
    }
    if (irp == Asked[1].Irp)
        return STATUS_NO_MATCH;
    return context && irp == Asked[3].Irp ? STATUS_BUFFER_OVERFLOW : STATUS_SUCCESS;
}

TEST(KsMoveIrpsOnCancelableQueue)
{
    const char *failed;
    Where = KsListEntryTail;
    Own = NULL;
    Callbacks = Ends = 0;
    failed = Fill(4);
    if (failed)
        return failed;
    CHECK(KsMoveIrpsOnCancelableQueue(&Queue, &Lock, &Other, &OtherLock, KsListEntryHead, Choose, &Queue) ==
          STATUS_BUFFER_OVERFLOW);
    CHECK(Callbacks == 5 && Ends == 1 && CallbackLevel == DISPATCH_LEVEL && KeGetCurrentIrql() == PASSIVE_LEVEL);
    CHECK(Other.Flink == &Asked[0].Irp->Tail.Overlay.ListEntry && Other.Blink == &Asked[2].Irp->Tail.Overlay.ListEntry);
    CHECK(KSQUEUE_SPINLOCK_IRP_STORAGE(Asked[0].Irp) == &OtherLock && KSQUEUE_SPINLOCK_IRP_STORAGE(Asked[1].Irp) == &Lock);
    CHECK(IoCancelIrp(Asked[0].Irp) && Outcome(0) == STATUS_CANCELLED);
    /* From the end they come in at the front, so that their order stays. */
    CHECK(KsMoveIrpsOnCancelableQueue(&Queue, &Lock, &Other, NULL, KsListEntryTail, Choose, NULL) == STATUS_SUCCESS);
    CHECK(Other.Flink == &Asked[3].Irp->Tail.Overlay.ListEntry && Ends == 2);
    CHECK(Queue.Flink == &Asked[1].Irp->Tail.Overlay.ListEntry && Queue.Flink == Queue.Blink);
    KsCancelIo(&Queue, &Lock);
    CHECK(KsRemoveIrpFromCancelableQueue(&Other, &OtherLock, KsListEntryHead, KsAcquireAndRemove) == Asked[3].Irp);
    Complete(Asked[3].Irp, STATUS_SUCCESS);
    KsCancelIo(&Other, &OtherLock);
    CHECK(Outcome(1) == STATUS_CANCELLED && Outcome(2) == STATUS_CANCELLED && IsListEmpty(&Other));
    DropDevice();
    PASS;
}
