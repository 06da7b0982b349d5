//! The functions that create pins, allocators, clocks and topology nodes, as a client calls them: with handles, the
//! structures of the headers, and an output that a failure leaves as it was.
//!
//! Each comes in the three worlds of return values: [`win32`] as `ksuser.dll` has had them always, [`broker`] with a `2` in
//! their names since Windows 8, and [`kernel`] for drivers. All of them are one create request below the parent's file
//! object, with the class string for a name. The typed objects ([`crate::Filter::create_pin`] and its kin) send the same.
//!
//! Source: nf-ks-kscreatepin, nf-ks-kscreateallocator, nf-ks-kscreateclock, nf-ks-kscreatetopologynode and their twins.

use ks_abi::{
    Guid, KSNAME_Allocator, KSNAME_Clock, KSNAME_Pin, KSNAME_TopologyNode, KsAllocatorFraming, KsClockCreate,
    KsNodeCreate, NtStatus, STATUS_INVALID_DEVICE_REQUEST, STATUS_SUCCESS,
};
use ks_io::{AccessMask, Handle, Level, Transport};
use zerocopy::IntoBytes;

/// Creates below `parent`; `result` is written on success only.
///
/// Decision: above PASSIVE_LEVEL, where the pages forbid the call, it is STATUS_INVALID_DEVICE_REQUEST, and no request is
/// sent.
fn create(
    transport: &dyn Transport,
    parent: Handle,
    class: Guid,
    parameters: &[u8],
    access: AccessMask,
    result: &mut Handle,
) -> NtStatus {
    if Level::current() > Level::Passive {
        return STATUS_INVALID_DEVICE_REQUEST;
    }
    match transport.create(parent, &class.to_string(), parameters, access) {
        Ok(handle) => {
            *result = handle;
            STATUS_SUCCESS
        }
        Err(outcome) => outcome.status,
    }
}

/// The access of an allocator and of a clock, whose functions have no parameter for it: their requests need none.
const ACCESS: AccessMask = AccessMask::GENERIC_READ;

/// For drivers: an NTSTATUS.
pub mod kernel {
    use super::*;

    /// Creates a pin of the filter `filter`. `connect` is a KSPIN_CONNECT with the KSDATAFORMAT right behind it. `access` is
    /// GENERIC_WRITE for data that flows into the pin and GENERIC_READ for data that flows out of it, whoever sends the
    /// requests; more may be asked for.
    #[doc(alias = "KsCreatePin")]
    pub fn create_pin(
        transport: &dyn Transport,
        filter: Handle,
        connect: &[u8],
        access: AccessMask,
        connection: &mut Handle,
    ) -> NtStatus {
        create(transport, filter, KSNAME_Pin, connect, access, connection)
    }

    /// Creates an allocator on the sink connection `connection`.
    #[doc(alias = "KsCreateAllocator")]
    pub fn create_allocator(
        transport: &dyn Transport,
        connection: Handle,
        framing: &KsAllocatorFraming,
        allocator: &mut Handle,
    ) -> NtStatus {
        create(transport, connection, KSNAME_Allocator, framing.as_bytes(), ACCESS, allocator)
    }

    /// Creates a clock on the connection `connection`, whose pin implements one.
    #[doc(alias = "KsCreateClock")]
    pub fn create_clock(
        transport: &dyn Transport,
        connection: Handle,
        parameters: &KsClockCreate,
        clock: &mut Handle,
    ) -> NtStatus {
        create(transport, connection, KSNAME_Clock, parameters.as_bytes(), ACCESS, clock)
    }

    /// Opens a topology node of the filter or pin `parent`.
    #[doc(alias = "KsCreateTopologyNode")]
    pub fn create_topology_node(
        transport: &dyn Transport,
        parent: Handle,
        parameters: &KsNodeCreate,
        access: AccessMask,
        node: &mut Handle,
    ) -> NtStatus {
        create(transport, parent, KSNAME_TopologyNode, parameters.as_bytes(), access, node)
    }
}

/// For user mode: a Win32 error code, 0 for success.
pub mod win32 {
    use super::*;
    use ks_abi::Win32Error;

    /// See [`kernel::create_pin`]. ERROR_NO_MATCH: the pin does not take that interface, medium or data format.
    // ks-coverage: KsCreatePin done test=the_functions_create_in_three_worlds,a_failure_leaves_the_output_alone_in_every_world,a_driver_opens_another_and_reads_from_it
    #[doc(alias = "KsCreatePin")]
    pub fn create_pin(
        transport: &dyn Transport,
        filter: Handle,
        connect: &[u8],
        access: AccessMask,
        connection: &mut Handle,
    ) -> Win32Error {
        kernel::create_pin(transport, filter, connect, access, connection).to_win32()
    }

    /// See [`kernel::create_allocator`].
    // ks-coverage: KsCreateAllocator done test=the_functions_create_in_three_worlds,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateAllocator")]
    pub fn create_allocator(
        transport: &dyn Transport,
        connection: Handle,
        framing: &KsAllocatorFraming,
        allocator: &mut Handle,
    ) -> Win32Error {
        kernel::create_allocator(transport, connection, framing, allocator).to_win32()
    }

    /// See [`kernel::create_clock`].
    // ks-coverage: KsCreateClock done test=the_functions_create_in_three_worlds,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateClock")]
    pub fn create_clock(
        transport: &dyn Transport,
        connection: Handle,
        parameters: &KsClockCreate,
        clock: &mut Handle,
    ) -> Win32Error {
        kernel::create_clock(transport, connection, parameters, clock).to_win32()
    }

    /// See [`kernel::create_topology_node`].
    // ks-coverage: KsCreateTopologyNode done test=the_functions_create_in_three_worlds,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateTopologyNode")]
    pub fn create_topology_node(
        transport: &dyn Transport,
        parent: Handle,
        parameters: &KsNodeCreate,
        access: AccessMask,
        node: &mut Handle,
    ) -> Win32Error {
        kernel::create_topology_node(transport, parent, parameters, access, node).to_win32()
    }
}

/// Through the device broker: an HRESULT. The thread must have initialized COM ([`crate::com::initialize`]), or the
/// function gives CO_E_NOTINITIALIZED before anything is sent.
///
/// Decision: the device broker is the side of the [`Transport`] that keeps the client's handles and checks its access, so
/// a handle of these functions is one like any other. What a driver's process is asked, is asked by it.
pub mod broker {
    use super::*;
    use crate::com;
    use ks_abi::HResult;

    fn brokered(create: impl FnOnce() -> NtStatus) -> HResult {
        if com::is_initialized() { HResult::from(create()) } else { HResult::CO_E_NOTINITIALIZED }
    }

    /// See [`kernel::create_pin`].
    // ks-coverage: KsCreatePin2 done test=the_functions_create_in_three_worlds,without_com_the_broker_is_not_asked,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreatePin2")]
    pub fn create_pin2(
        transport: &dyn Transport,
        filter: Handle,
        connect: &[u8],
        access: AccessMask,
        connection: &mut Handle,
    ) -> HResult {
        brokered(|| kernel::create_pin(transport, filter, connect, access, connection))
    }

    /// See [`kernel::create_allocator`].
    // ks-coverage: KsCreateAllocator2 done test=the_functions_create_in_three_worlds,without_com_the_broker_is_not_asked,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateAllocator2")]
    pub fn create_allocator2(
        transport: &dyn Transport,
        connection: Handle,
        framing: &KsAllocatorFraming,
        allocator: &mut Handle,
    ) -> HResult {
        brokered(|| kernel::create_allocator(transport, connection, framing, allocator))
    }

    /// See [`kernel::create_clock`].
    // ks-coverage: KsCreateClock2 done test=the_functions_create_in_three_worlds,without_com_the_broker_is_not_asked,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateClock2")]
    pub fn create_clock2(
        transport: &dyn Transport,
        connection: Handle,
        parameters: &KsClockCreate,
        clock: &mut Handle,
    ) -> HResult {
        brokered(|| kernel::create_clock(transport, connection, parameters, clock))
    }

    /// See [`kernel::create_topology_node`].
    // ks-coverage: KsCreateTopologyNode2 done test=the_functions_create_in_three_worlds,without_com_the_broker_is_not_asked,a_failure_leaves_the_output_alone_in_every_world
    #[doc(alias = "KsCreateTopologyNode2")]
    pub fn create_topology_node2(
        transport: &dyn Transport,
        parent: Handle,
        parameters: &KsNodeCreate,
        access: AccessMask,
        node: &mut Handle,
    ) -> HResult {
        brokered(|| kernel::create_topology_node(transport, parent, parameters, access, node))
    }
}
