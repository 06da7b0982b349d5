/* What a driver does at the end of its DriverEntry. */
#ifndef ENTERED
#define ENTERED(DriverObject)
#endif

/* A filter without pins, with the property set SET and the items in `Properties`. */
#define MISBEHAVING_DRIVER(SET, LAST)                                                                                  \
    static DEFINE_KSPROPERTY_SET_TABLE(PropertySets){                                                                  \
        DEFINE_KSPROPERTY_SET(&SET, SIZEOF_ARRAY(Properties), Properties, 0, NULL)};                                   \
    static const KSAUTOMATION_TABLE Automation = {SIZEOF_ARRAY(PropertySets), sizeof(KSPROPERTY_ITEM), PropertySets};  \
    static const GUID Categories[] = {{CATEGORY_RENDER_GUID}};                                                         \
    static const GUID Reference = {0x1a4f3e52, 0x7f0b, 0x4c60, {0x9d, 0x35, 0x2b, 0x5e, 0x84, 0x11, 0x0d, LAST}};       \
    static const KSFILTER_DISPATCH FilterDispatch = {NULL};                                                            \
    static const KSFILTER_DESCRIPTOR Filter = {                                                                        \
        .Dispatch = &FilterDispatch,                                                                                   \
        .AutomationTable = &Automation,                                                                                \
        .Version = KSFILTER_DESCRIPTOR_VERSION,                                                                        \
        .ReferenceGuid = &Reference,                                                                                   \
        .PinDescriptorSize = sizeof(KSPIN_DESCRIPTOR_EX),                                                              \
        .CategoriesCount = SIZEOF_ARRAY(Categories),                                                                   \
        .Categories = Categories,                                                                                      \
        .NodeDescriptorSize = sizeof(KSNODE_DESCRIPTOR),                                                               \
    };                                                                                                                 \
    static const KSFILTER_DESCRIPTOR *const Filters[] = {&Filter};                                                     \
    static const KSDEVICE_DESCRIPTOR Device = {NULL, SIZEOF_ARRAY(Filters), Filters, KSDEVICE_DESCRIPTOR_VERSION};     \
    NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)                              \
    {                                                                                                                  \
        NTSTATUS status = KsInitializeDriver(DriverObject, RegistryPath, &Device);                                     \
        ENTERED(DriverObject);                                                                                         \
        return status;                                                                                                 \
    }
