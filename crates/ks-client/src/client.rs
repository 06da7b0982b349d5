//! A client of an engine: lists device interfaces and opens filters.

use crate::default_links::{DefaultLink, DefaultLinks};
use crate::error::ClientError;
use crate::filter::{Connect, Filter, access_of};
use crate::object::Object;
use crate::pin::Pin;
use ks_abi::{Guid, KSSTRING_PIN, KsPinDataFlow, STATUS_OBJECT_NAME_NOT_FOUND};
use ks_io::{AccessMask, Aspect, CancelCreates, InterfaceInfo, Transport};
use std::sync::Arc;

/// A client over any transport. A clone is the same client.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    links: Option<Arc<DefaultLinks>>,
}

impl Client {
    /// A client that speaks over `transport`, with the default links of the environment's user.
    pub fn new(transport: Arc<dyn Transport>) -> Client {
        Client { transport, links: DefaultLinks::of_user().map(Arc::new) }
    }

    /// The same client with other default links; `None`: none is set.
    pub fn with_default_links(self, links: Option<DefaultLinks>) -> Client {
        Client { links: links.map(Arc::new), ..self }
    }

    /// Where the default links of this client stand.
    pub fn default_links(&self) -> Option<&DefaultLinks> {
        self.links.as_deref()
    }

    /// The raw verbs, for requests that this library has no words for.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// The device interfaces of one category, or all.
    #[doc(alias = "SetupDiEnumDeviceInterfaces")]
    pub fn interfaces(&self, category: Option<Guid>) -> Vec<InterfaceInfo> {
        self.transport.interfaces(category)
    }

    /// Opens a filter by the symbolic link of one of its interfaces, or by a default link (see [`DefaultLinks`]), for
    /// reading and writing.
    #[doc(alias = "CreateFile")]
    pub fn open(&self, symbolic_link: &str) -> Result<Filter, ClientError> {
        if DefaultLink::named(symbolic_link).is_some() {
            return self.open_interface(&self.named(symbolic_link)?.symbolic_link);
        }
        self.open_interface(symbolic_link)
    }

    fn open_interface(&self, symbolic_link: &str) -> Result<Filter, ClientError> {
        let known = self.interface(symbolic_link);
        let name = known.map_or_else(|| symbolic_link.to_string(), |one| one.title().to_string());
        let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
        match self.transport.open(symbolic_link, access) {
            Ok(handle) => Ok(Filter::new(self.transport.clone(), handle, name)),
            Err(outcome) => Err(ClientError::new("open the filter", symbolic_link, outcome)),
        }
    }

    /// Cancels creates of this client that a driver pends: those under way, or each that does from now on, because the client
    /// is about to end. Any thread may call it; who waits for the create gets STATUS_CANCELLED when the driver has let go.
    #[doc(alias = "CancelSynchronousIo")]
    pub fn cancel_creates(&self, which: CancelCreates) {
        self.transport.cancel_creates(which);
    }

    /// Opens a filter by its name: the reference string, friendly name or symbolic link of an interface, or a default
    /// link, in any case.
    pub fn open_by_name(&self, name: &str) -> Result<Filter, ClientError> {
        self.open_interface(&self.named(name)?.symbolic_link)
    }

    /// Creates a pin by the name of its filter in one call: device name, class string and parameters. The filter is closed
    /// with the pin.
    #[doc(alias = "CreateFile")]
    pub fn open_pin(&self, filter: &str, connect: Connect<'_>, data_flow: KsPinDataFlow) -> Result<Pin, ClientError> {
        let link = self.named(filter)?.symbolic_link;
        let class = KSSTRING_PIN;
        let parameters = connect.parameters();
        match self.transport.open_object(&link, class, &parameters, access_of(data_flow)) {
            Ok(handle) => {
                let name = format!("{filter}.{}", connect.pin_id);
                Ok(Pin::new(Object::new(self.transport.clone(), handle, name), data_flow))
            }
            Err(outcome) => Err(ClientError::new(format!("create pin {}", connect.pin_id), filter, outcome)),
        }
    }

    /// Opens the first filter of a category.
    #[doc(alias = "KsOpenDefaultDevice")]
    pub fn open_default_device(&self, category: Guid) -> Result<Filter, ClientError> {
        match self.interfaces(Some(category)).first() {
            Some(interface) => self.open(&interface.symbolic_link),
            None => {
                let name = category.name().map_or_else(|| category.to_string(), str::to_string);
                let reason = format!("no filter is registered under {name}");
                let status = STATUS_OBJECT_NAME_NOT_FOUND;
                Err(ClientError::own("open the first filter", &name, status, Aspect::Name, reason))
            }
        }
    }

    /// The interface of this name. A default link that is not set, or leads to a filter that is not there, is named in the
    /// error.
    pub fn named(&self, name: &str) -> Result<InterfaceInfo, ClientError> {
        let none = |reason| {
            let status = STATUS_OBJECT_NAME_NOT_FOUND;
            Err(ClientError::own("open the filter", name, status, Aspect::Name, reason))
        };
        let Some(link) = DefaultLink::named(name) else {
            return self.interface(name).map_or_else(|| none(format!("there is no filter named {name}")), Ok);
        };
        let set = match self.default_links().map(|links| links.get(link)) {
            None | Some(Ok(None)) => return none(format!("the link {} is not set", link.name())),
            Some(Err(error)) => return none(format!("the link {} leads nowhere: {error}", link.name())),
            Some(Ok(Some(set))) => set,
        };
        let dangles = || none(format!("the link {} leads to {set}, and there is no filter of that name", link.name()));
        // A link leads to a filter and not to another link.
        self.interface(&set).map_or_else(dangles, Ok)
    }

    /// The first interface with this reference string, friendly name or symbolic link, or that a default link leads to.
    pub fn find(&self, name: &str) -> Option<InterfaceInfo> {
        self.named(name).ok()
    }

    fn interface(&self, name: &str) -> Option<InterfaceInfo> {
        self.transport.interface_named(name)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
