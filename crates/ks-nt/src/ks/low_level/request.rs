//! A request of a driver's own: its packet, its current stack location, and the buffers that a handler is given.

use crate::ks::address::{Address, Routine, status};
use crate::ks::irp;
use crate::ks::kernel;
use ks_abi::kernel::{
    DeviceIoControlParameters, IRP_BUFFERED_IO, IRP_DEALLOCATE_BUFFER, IRP_INPUT_OPERATION, IoStackLocation, Irp,
};
use ks_abi::{NtStatus, Ptr64, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_BUFFER_SIZE};
use ks_io::{FileReference, IrpParts, Origin, Output, Refusal};
use std::mem::offset_of;

/// The most bytes that a request or its data may have.
pub(super) const MOST_BYTES: u32 = 16 << 20;
const TAG: u32 = u32::from_le_bytes(*b"KsIo");

/// A driver's request, at its address.
#[derive(Clone, Copy)]
pub(in crate::ks) struct DriverIrp(Address);

/// Which way the data of a request goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DataFlow {
    /// There is room, and nothing is copied.
    Room,
    In,
    Out,
    InOut,
}

/// Does the caller's data count?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DataIn {
    Yes,
    No,
}

/// Who gave a request its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AnsweredBy {
    Table,
    Driver,
}

/// What a handler is given.
#[derive(Clone, Copy)]
pub(super) struct Captured {
    pub(super) request: Address,
    /// NULL where there is no data.
    pub(super) data: Address,
}

impl DriverIrp {
    pub(in crate::ks) fn new(irp: Address) -> DriverIrp {
        DriverIrp(irp)
    }

    pub(super) fn address(self) -> Address {
        self.0
    }

    pub(in crate::ks) fn stack(self) -> Address {
        self.0.follow(offset_of!(Irp, current_stack_location))
    }

    pub(super) fn parameters(self) -> DeviceIoControlParameters {
        self.stack().get(offset_of!(IoStackLocation, parameters))
    }

    pub(super) fn file_object(self) -> Address {
        self.stack().follow(offset_of!(IoStackLocation, file_object))
    }

    pub(super) fn device_object(self) -> Address {
        self.stack().follow(offset_of!(IoStackLocation, device_object))
    }

    pub(super) fn user_buffer(self) -> Address {
        self.0.follow(offset_of!(Irp, user_buffer))
    }

    /// The output buffer's address as its client knows it, which names an event: a request of the engine's has it apart,
    /// see `wdm_file.rs`.
    pub(super) fn client_output(self) -> Address {
        let own = self.0.follow(offset_of!(Irp, user_apc_context));
        own.some().unwrap_or_else(|| self.user_buffer())
    }

    /// The input buffer's address as its client knows it.
    pub(super) fn client_input(self) -> Address {
        let own = self.0.follow(offset_of!(Irp, user_apc_routine));
        own.some().unwrap_or(Address(self.parameters().type3_input_buffer.0))
    }

    pub(super) fn system_buffer(self) -> Address {
        self.0.follow(offset_of!(Irp, system_buffer))
    }

    pub(super) fn set_system_buffer(self, buffer: Address) {
        self.0.put(offset_of!(Irp, system_buffer), Ptr64(buffer.0));
    }

    pub(super) fn flags(self) -> u32 {
        self.0.get(offset_of!(Irp, flags))
    }

    pub(super) fn add_flags(self, flags: u32) {
        self.0.put(offset_of!(Irp, flags), self.flags() | flags);
    }

    pub(super) fn set_information(self, bytes: u64) {
        self.0.put(offset_of!(Irp, io_status.information), bytes);
    }

    pub(in crate::ks) fn status(self) -> NtStatus {
        NtStatus(self.0.get(offset_of!(Irp, io_status.status)))
    }

    pub(in crate::ks) fn set_status(self, status: NtStatus) {
        self.0.put(offset_of!(Irp, io_status.status), status);
    }

    pub(super) fn is_cancelled(self) -> bool {
        self.0.get::<u8>(offset_of!(Irp, cancel)) != 0
    }

    pub(super) fn set_cancelled(self) {
        self.0.put(offset_of!(Irp, cancel), 1u8);
    }

    /// Exchanges the cancel routine; whoever gets it out is the one who may cancel, or has acquired, the request.
    pub(super) fn swap_cancel_routine(self, routine: u64) -> u64 {
        kernel::swap_cancel_routine(self.0, routine)
    }

    /// One of the four words of the current owner, see the `_IRP_STORAGE` macros.
    pub(super) fn storage(self, index: usize) -> u64 {
        self.0.get(offset_of!(Irp, driver_context) + 8 * (index & 3))
    }

    /// Sets one of the four words.
    pub(super) fn set_storage(self, index: usize, value: u64) {
        self.0.put(offset_of!(Irp, driver_context) + 8 * (index & 3), value);
    }

    /// Pool memory as the request's system buffer, which the I/O manager frees. What of it goes back to the caller at
    /// the end is Information, where the flow is outwards.
    pub(super) fn allocate_system_buffer(self, bytes: usize, flow: DataFlow) -> Result<Address, NtStatus> {
        let buffer = kernel::allocate_pool(bytes, TAG).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
        self.set_system_buffer(buffer);
        let back = if matches!(flow, DataFlow::Out | DataFlow::InOut) { IRP_INPUT_OPERATION } else { 0 };
        self.add_flags(IRP_BUFFERED_IO | IRP_DEALLOCATE_BUFFER | back);
        Ok(buffer)
    }

    /// Copies what a handler works on into one buffer: the data, and behind it, aligned to 8, the request. A second call
    /// finds the buffer of the first. `allocator` is the driver's own PFNKSALLOCATOR.
    pub(super) fn capture(self, flow: DataFlow, allocator: Option<Routine>) -> Result<Captured, NtStatus> {
        let parameters = self.parameters();
        let (input, output) = (parameters.input_buffer_length, parameters.output_buffer_length);
        if input > MOST_BYTES || output > MOST_BYTES {
            return Err(STATUS_INVALID_BUFFER_SIZE);
        }
        if let Some(captured) = self.captured() {
            return Ok(captured);
        }
        let request_at = (output as usize).next_multiple_of(8);
        let bytes = request_at + input as usize;
        let buffer = match allocator {
            None => self.allocate_system_buffer(bytes.max(8), flow)?,
            Some(allocator) => {
                let back = matches!(flow, DataFlow::Out | DataFlow::InOut);
                let made = status(allocator.call3(self.0.0, bytes as u64, u64::from(back)));
                if !made.is_success() {
                    return Err(made);
                }
                self.system_buffer().some().ok_or(STATUS_INSUFFICIENT_RESOURCES)?
            }
        };
        let data = Address(parameters.type3_input_buffer.0).bytes(input as usize);
        buffer.at(request_at).write_bytes(&data);
        if matches!(flow, DataFlow::In | DataFlow::InOut) {
            buffer.write_bytes(&self.user_buffer().bytes(output as usize));
        }
        Ok(self.split(buffer, output))
    }

    /// What [`DriverIrp::capture`] found before, or what AVStream captured of a request that it lent.
    pub(super) fn captured(self) -> Option<Captured> {
        let parameters = self.parameters();
        if irp::is_lent(self.0) {
            let request = Address(parameters.type3_input_buffer.0).some()?;
            return Some(Captured { request, data: self.system_buffer() });
        }
        Some(self.split(self.system_buffer().some()?, parameters.output_buffer_length))
    }

    /// Has `answer` answer a captured request, unless it says that a routine of the driver's did: then data and
    /// Information are the routine's own.
    pub(super) fn answer(
        self,
        captured: Captured,
        data_in: DataIn,
        answer: impl FnOnce(IrpParts<'_>) -> (Result<NtStatus, Refusal>, AnsweredBy),
    ) -> NtStatus {
        let parameters = self.parameters();
        let request = captured.request.bytes(parameters.input_buffer_length as usize);
        let room = parameters.output_buffer_length as usize;
        let data = if data_in == DataIn::Yes { captured.data.bytes(room) } else { Vec::new() };
        let mut output = match Output::new(room, &data) {
            Ok(output) => output,
            Err(status) => return status,
        };
        let (origin, file) = (Origin::class_driver(), FileReference::default());
        let parts = IrpParts { input: &request, output: &mut output, origin: &origin, file: &file };
        let (status, by) = answer(parts);
        if by == AnsweredBy::Table {
            captured.data.write_bytes(output.answered());
            self.set_information(output.information() as u64);
        }
        status.unwrap_or_else(|refusal| refusal.status)
    }

    fn split(self, buffer: Address, output: u32) -> Captured {
        let request = buffer.at((output as usize).next_multiple_of(8));
        Captured { request, data: if output == 0 { Address::NULL } else { buffer } }
    }
}
