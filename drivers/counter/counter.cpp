// counter: frames that hold a number each. A minidriver in C++: objects from the pool by `new`, virtual functions, and
// an object with a static constructor, which the driver runs itself, as every driver without a C library must.
#include "bytes.h"

typedef void (*Constructor)();
extern "C" Constructor __CTOR_LIST__[];

void *operator new(size_t bytes)
{
    return ExAllocatePoolWithTag(NonPagedPool, bytes, 'tnuC');
}

void operator delete(void *object) noexcept
{
    if (object)
        ExFreePoolWithTag(object, 'tnuC');
}

void operator delete(void *object, size_t) noexcept
{
    operator delete(object);
}

extern "C" void __cxa_pure_virtual()
{
    KeBugCheckEx(0xE2, 0, 0, 0, 0);
}

namespace {

// What comes after a number.
struct Sequence {
    virtual ~Sequence() = default;
    virtual ULONG Next() = 0;
};

class Ascending : public Sequence {
public:
    Ascending(ULONG first, ULONG step) : next_(first), step_(step) {}
    ULONG Next() override
    {
        ULONG number = next_;
        next_ += step_;
        return number;
    }

private:
    ULONG next_, step_;
};

class Descending final : public Ascending {
public:
    explicit Descending(ULONG first) : Ascending(first, ~0u) {}
};

// Needs its constructor: the first number is computed at run time.
class Start {
public:
    Start() : first_(1)
    {
        for (int i = 0; i < 6; i++)
            first_ *= 10;
    }
    ULONG First() const { return first_; }

private:
    volatile ULONG first_;
};

Start start;

NTSTATUS OnProcess(PKSPIN Pin)
{
    auto *sequence = static_cast<Sequence *>(Pin->Context);
    PKSSTREAM_POINTER leading = KsPinGetLeadingEdgeStreamPointer(Pin, KSSTREAM_POINTER_STATE_LOCKED);
    if (!leading)
        return STATUS_PENDING;
    if (leading->OffsetOut.Remaining < sizeof(ULONG)) {
        KsStreamPointerUnlock(leading, TRUE);
        return STATUS_SUCCESS;
    }
    *static_cast<ULONG *>(static_cast<void *>(leading->OffsetOut.Data)) = sequence->Next();
    // The bytes become used, and the rest of the frame stays empty.
    KsStreamPointerAdvanceOffsetsAndUnlock(leading, 0, sizeof(ULONG), TRUE);
    return STATUS_SUCCESS;
}

NTSTATUS OnPinCreate(PKSPIN Pin, PIRP)
{
    Sequence *sequence = nullptr;
    if (Pin->Id == 0)
        sequence = new Ascending(start.First(), 1);
    else
        sequence = new Descending(start.First());
    Pin->Context = sequence;
    return sequence ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS OnPinClose(PKSPIN Pin, PIRP)
{
    delete static_cast<Sequence *>(Pin->Context);
    return STATUS_SUCCESS;
}

const KSDATARANGE range = BYTES_RANGE(64);
const PKSDATARANGE ranges[] = {const_cast<PKSDATARANGE>(&range)};
const KSPIN_DISPATCH pinDispatch = {OnPinCreate, OnPinClose, OnProcess, nullptr, nullptr,
                                    nullptr,     nullptr,    nullptr,   nullptr, nullptr};
DECLARE_SIMPLE_FRAMING_EX(framing, STATIC_KSMEMORY_TYPE_KERNEL_NONPAGED,
                                KSALLOCATOR_REQUIREMENTF_SYSTEM_MEMORY | KSALLOCATOR_REQUIREMENTF_PREFERENCES_ONLY, 4,
                                0, 64, 64);

// Two pins that differ in the object behind them only.
KSPIN_DESCRIPTOR_EX pins[2];
const GUID categories[] = {{CATEGORY_CAPTURE_GUID}};
const GUID reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0c, 0x07}};
const KSFILTER_DISPATCH filterDispatch = {nullptr, nullptr, nullptr, nullptr};
KSFILTER_DESCRIPTOR filter;
const KSFILTER_DESCRIPTOR *const filters[] = {&filter};
const KSDEVICE_DESCRIPTOR device = {nullptr, 1, filters, KSDEVICE_DESCRIPTOR_VERSION};

void Describe()
{
    for (auto &pin : pins) {
        pin.Dispatch = &pinDispatch;
        pin.PinDescriptor.DataRangesCount = SIZEOF_ARRAY(ranges);
        pin.PinDescriptor.DataRanges = ranges;
        pin.PinDescriptor.DataFlow = KSPIN_DATAFLOW_OUT;
        pin.PinDescriptor.Communication = KSPIN_COMMUNICATION_BOTH;
        pin.InstancesPossible = 2;
        pin.AllocatorFraming = &framing;
    }
    filter.Dispatch = &filterDispatch;
    filter.Version = KSFILTER_DESCRIPTOR_VERSION;
    filter.ReferenceGuid = &reference;
    filter.PinDescriptorsCount = SIZEOF_ARRAY(pins);
    filter.PinDescriptorSize = sizeof(pins[0]);
    filter.PinDescriptors = pins;
    filter.CategoriesCount = SIZEOF_ARRAY(categories);
    filter.Categories = categories;
    filter.NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR);
}

} // namespace

extern "C" NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    // The list has a count or -1 first and ends with NULL.
    for (Constructor *constructor = __CTOR_LIST__ + 1; *constructor; constructor++)
        (*constructor)();
    Describe();
    return KsInitializeDriver(DriverObject, RegistryPath, &device);
}
