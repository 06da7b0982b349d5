//! A client that knows nothing but handles, codes and bytes.
#![allow(dead_code, reason = "each test program uses a part of it")]

use ks_abi::*;
use ks_io::{AccessMask, Finished, Handle, InterfaceInfo, Outcome, Request, Services, Session, Transport};
use ks_mem::Frame;
use std::sync::Arc;
use zerocopy::{FromBytes, IntoBytes};

/// The client, and the filters of ours that it looks at, if it does.
pub(crate) struct Client {
    pub(crate) _system: Option<ks_filters::System>,
    pub(crate) session: Arc<Session>,
}

pub(crate) const READ_WRITE: AccessMask = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);

pub(crate) fn client() -> Client {
    ks_stream::verifier::enable();
    let system = ks_filters::system(Services::virtual_time(11)).unwrap();
    let session = system.session();
    Client { _system: Some(system), session }
}

pub(crate) fn property(set: Guid, id: u32) -> Vec<u8> {
    KsProperty::new(set, id, KSPROPERTY_TYPE_GET).as_bytes().to_vec()
}

pub(crate) fn of_pin(id: u32, pin_id: u32) -> Vec<u8> {
    let property = KsProperty::new(KSPROPSETID_Pin, id, KSPROPERTY_TYPE_GET);
    KspPin { property, pin_id, flags: 0 }.as_bytes().to_vec()
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Client {
    pub(crate) fn ask(&self, handle: Handle, request: &[u8], room: usize) -> (Outcome, Vec<u8>) {
        let mut answer = vec![0; room];
        let outcome = self.session.device_io_control(handle, IoControlCode(0x002F_0003), request, &mut answer);
        (outcome, answer)
    }

    /// A property of one size, which is answered in full.
    pub(crate) fn fixed<T: FromBytes>(&self, handle: Handle, request: &[u8]) -> Result<T, Win32Error> {
        let (outcome, answer) = self.ask(handle, request, size_of::<T>());
        if !outcome.status.is_success() {
            return Err(outcome.status.to_win32());
        }
        assert_eq!(outcome.information, size_of::<T>());
        Ok(T::read_from_bytes(&answer).unwrap())
    }

    /// Size and data: the first call, without output, must fail with ERROR_MORE_DATA and tell the size.
    pub(crate) fn sized(&self, handle: Handle, request: &[u8]) -> Result<Vec<u8>, Win32Error> {
        let (size, _) = self.ask(handle, request, 0);
        match size.status.to_win32() {
            Win32Error::ERROR_MORE_DATA => {}
            other => return Err(other),
        }
        let (outcome, answer) = self.ask(handle, request, size.information);
        assert!(outcome.status.is_success(), "the size was told, and is not enough: {}", outcome.status);
        assert_eq!(outcome.information, size.information);
        Ok(answer)
    }

    pub(crate) fn set_state(&self, pin: Handle, state: KsState) {
        let request = KsProperty::new(KSPROPSETID_Connection, KSPROPERTY_CONNECTION_STATE, KSPROPERTY_TYPE_SET);
        let code = IoControlCode(0x002F_0003);
        let outcome = self.session.device_io_control(pin, code, request.as_bytes(), &mut state.0.to_le_bytes());
        assert!(outcome.status.is_success(), "{state}: {}", outcome.status);
    }

    /// Is the same device and reference string registered under another category, too?
    pub(crate) fn alias(&self, interface: &InterfaceInfo, category: Guid) -> bool {
        let same = |one: &InterfaceInfo| one.device == interface.device && one.reference == interface.reference;
        self.session.interfaces(Some(category)).iter().any(same)
    }

    pub(crate) fn create_pin(
        &self,
        filter: Handle,
        (pin_id, interface): (u32, u32),
        format: &[u8],
        access: AccessMask,
    ) -> Result<Handle, Win32Error> {
        let connect = KsPinConnect {
            interface: KsIdentifier::new(KSINTERFACESETID_Standard, interface, 0),
            medium: KsIdentifier::new(KSMEDIUMSETID_Standard, 0, 0),
            pin_id,
            pin_to_handle: 0,
            priority: KsPriority { priority_class: 0x4000_0000, priority_sub_class: 1 },
            ..Default::default()
        };
        assert_eq!(connect.as_bytes().len(), 72);
        let parameters = [connect.as_bytes(), format].concat();
        let class = "{146F1A80-4791-11D0-A5D6-28DB04C10000}";
        self.session.create(filter, class, &parameters, access).map_err(|outcome| outcome.status.to_win32())
    }

    /// Submits one header of this many bytes over the frame.
    pub(crate) fn submit(
        &self,
        pin: Handle,
        code: u32,
        frame: &Frame,
        bytes: usize,
        header_bytes: usize,
        options: u32,
    ) -> Request {
        let mut header = vec![0; header_bytes];
        let used = if code == WRITE_STREAM { bytes as u32 } else { 0 };
        header[0..4].copy_from_slice(&(header_bytes as u32).to_le_bytes());
        header[16..20].copy_from_slice(&1u32.to_le_bytes());
        header[20..24].copy_from_slice(&1u32.to_le_bytes());
        header[32..36].copy_from_slice(&(bytes as u32).to_le_bytes());
        header[36..40].copy_from_slice(&used.to_le_bytes());
        header[40..48].copy_from_slice(&frame.address().to_le_bytes());
        header[48..52].copy_from_slice(&options.to_le_bytes());
        if header_bytes > 56 {
            // KS_FRAME_INFO.ExtendedHeaderSize
            header[56..60].copy_from_slice(&(header_bytes as u32 - 56).to_le_bytes());
        }
        self.session.submit(pin, IoControlCode(code), &[], header)
    }
}

pub(crate) const READ_STREAM: u32 = 0x002F_4017;
pub(crate) const WRITE_STREAM: u32 = 0x002F_8013;

/// DataUsed of a header that came back.
pub(crate) fn used(finished: &Finished) -> u32 {
    assert!(finished.outcome.status.is_success(), "{}", finished.outcome.status);
    word(&finished.output, 36)
}
