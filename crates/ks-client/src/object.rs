//! An open object: a handle that closes itself, and the property requests that every object takes.

use crate::error::ClientError;
use ks_abi::{
    Guid, IoControlCode, KSNAME_TopologyNode, KSPROPERTY_TYPE_BASICSUPPORT, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET,
    KsMultipleItem, KsNodeCreate, KsProperty, NtStatus, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL,
    STATUS_INVALID_BUFFER_SIZE, property_name,
};
use ks_io::{AccessMask, Handle, Outcome, Transport};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The most bytes that an answer of variable size may have.
const MOST_ANSWER_BYTES: usize = 16 << 20;

/// A handle with its transport and a name for messages. Dropping it closes the handle.
pub struct Object {
    transport: Arc<dyn Transport>,
    handle: Handle,
    name: String,
}

impl Object {
    pub(crate) fn new(transport: Arc<dyn Transport>, handle: Handle, name: String) -> Object {
        Object { transport, handle, name }
    }

    /// Gives it another name for messages.
    pub(crate) fn rename(&mut self, name: String) {
        self.name = name;
    }

    /// The handle.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The transport that made the handle.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// Name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a request and waits; the caller reads the outcome.
    #[doc(alias = "KsSynchronousDeviceControl")]
    pub fn control(&self, code: IoControlCode, input: &[u8], output: &mut [u8]) -> Outcome {
        self.transport.device_io_control(self.handle, code, input, output)
    }

    /// Opens an object below this one.
    pub(crate) fn create(
        &self,
        class: Guid,
        parameters: &[u8],
        access: AccessMask,
        name: &str,
    ) -> Result<Object, ClientError> {
        match self.transport.create(self.handle, &class.to_string(), parameters, access) {
            Ok(handle) => Ok(Object::new(self.transport.clone(), handle, format!("{name} of {}", self.name))),
            Err(outcome) => Err(ClientError::new(format!("create the {name}"), self.name.clone(), outcome)),
        }
    }

    pub(crate) fn create_node(&self, node: u32, access: AccessMask) -> Result<Object, ClientError> {
        let parameters = KsNodeCreate { create_flags: 0, node };
        self.create(KSNAME_TopologyNode, parameters.as_bytes(), access, &format!("node {node}"))
    }

    /// Reads a property of fixed size. `request` starts with the KSPROPERTY, whose flags are set here.
    pub fn property<T: FromBytes + IntoBytes>(&self, set: Guid, id: u32) -> Result<T, ClientError> {
        self.property_at(KsProperty::new(set, id, KSPROPERTY_TYPE_GET).as_bytes(), set, id)
    }

    /// Reads a property of fixed size with an extended request (`KSP_PIN`, say), flags included.
    pub fn property_at<T: FromBytes + IntoBytes>(&self, request: &[u8], set: Guid, id: u32) -> Result<T, ClientError> {
        let mut value = T::new_zeroed();
        let outcome = self.control(IoControlCode::KS_PROPERTY, request, value.as_mut_bytes());
        let answered = outcome.information;
        self.check(outcome, "get", set, id)?;
        if answered < size_of::<T>() {
            // A driver's own property may answer less than its type has; zeros behind it would be made up.
            return Err(self.error(&format!("get property {id} of {set}"), STATUS_INVALID_BUFFER_SIZE));
        }
        Ok(value)
    }

    /// Reads a property of variable size by the two-call protocol.
    pub fn property_bytes(&self, request: &[u8], set: Guid, id: u32) -> Result<Vec<u8>, ClientError> {
        let mut outcome = self.control(IoControlCode::KS_PROPERTY, request, &mut []);
        // The size may change between the two calls; a few tries are enough for any honest driver.
        for _ in 0..4 {
            if outcome.status != STATUS_BUFFER_OVERFLOW && outcome.status != STATUS_BUFFER_TOO_SMALL {
                break;
            }
            if outcome.information > MOST_ANSWER_BYTES {
                outcome = Outcome::status(STATUS_INVALID_BUFFER_SIZE);
                break;
            }
            let mut answer = vec![0; outcome.information];
            outcome = self.control(IoControlCode::KS_PROPERTY, request, &mut answer);
            if outcome.status.is_success() {
                answer.truncate(outcome.information);
                return Ok(answer);
            }
            if outcome.status == STATUS_BUFFER_TOO_SMALL {
                outcome = self.control(IoControlCode::KS_PROPERTY, request, &mut []);
            }
        }
        self.check(outcome, "get", set, id)?;
        Ok(Vec::new())
    }

    /// Reads a `KSMULTIPLE_ITEM` list whose items have one size.
    pub fn property_list<T: FromBytes>(&self, request: &[u8], set: Guid, id: u32) -> Result<Vec<T>, ClientError> {
        let bytes = self.property_bytes(request, set, id)?;
        Ok(list_items(&bytes))
    }

    /// Writes a property.
    pub fn set_property<T: IntoBytes + Immutable + ?Sized>(
        &self,
        set: Guid,
        id: u32,
        value: &T,
    ) -> Result<(), ClientError> {
        let request = KsProperty::new(set, id, KSPROPERTY_TYPE_SET);
        let send = |data: &mut [u8]| self.control(IoControlCode::KS_PROPERTY, request.as_bytes(), data);
        // The second buffer of a request may be written; most values are a word or two.
        let value = value.as_bytes();
        let mut small = [0; 32];
        let outcome = match small.get_mut(..value.len()) {
            Some(data) => {
                data.copy_from_slice(value);
                send(data)
            }
            None => send(&mut value.to_vec()),
        };
        self.check(outcome, "set", set, id)
    }

    /// What a property allows: `KSPROPERTY_TYPE_*` bits.
    pub fn basic_support(&self, set: Guid, id: u32) -> Result<u32, ClientError> {
        self.property_at(KsProperty::new(set, id, KSPROPERTY_TYPE_BASICSUPPORT).as_bytes(), set, id)
    }

    pub(crate) fn check(&self, outcome: Outcome, verb: &str, set: Guid, id: u32) -> Result<(), ClientError> {
        if outcome.status.is_success() {
            return Ok(());
        }
        let property = property_name(set, id).map_or_else(|| format!("property {id} of {set}"), str::to_string);
        Err(ClientError::new(format!("{verb} {property}"), self.name.clone(), outcome))
    }

    pub(crate) fn error(&self, doing: &str, status: NtStatus) -> ClientError {
        ClientError::new(doing, self.name.clone(), Outcome::status(status))
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = self.transport.close(self.handle);
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Object").field("name", &self.name).field("handle", &self.handle).finish()
    }
}

/// The items of a `KSMULTIPLE_ITEM` list, as far as the bytes go.
pub(crate) fn list_items<T: FromBytes>(bytes: &[u8]) -> Vec<T> {
    let Ok((head, mut rest)) = KsMultipleItem::read_from_prefix(bytes) else { return Vec::new() };
    let mut items = Vec::new();
    while items.len() < head.count as usize
        && let Ok((item, after)) = T::read_from_prefix(rest)
    {
        items.push(item);
        let step = (rest.len() - after.len()).next_multiple_of(8).min(rest.len());
        rest = &rest[step..];
    }
    items
}
