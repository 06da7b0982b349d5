//! `tee`: hands every frame on to as many outputs as there are, without a copy.
//!
//! Its output is a splitter pin: each pin that a client creates of it begins a branch, and all branches get the same
//! frames under read-only names. A frame goes back to its source when the last branch has let go of it, so the slowest
//! branch sets the pace once it holds all frames of the circuit, and a live source then drops. A branch that is stopped
//! or has reached its end holds none; one with a filter that changes its frames in place gets copies.

use std::sync::Arc;

use ks_abi::{KSCATEGORY_DATATRANSFORM, KSCATEGORY_SPLITTER, KsPinDataFlow};
use ks_io::Refusal;
use ks_io::sync::Mutex;
use ks_stream::{Filter, FilterDescriptor, FilterDispatch, FilterInstance, PinDescriptor, PinFlags};

use crate::null_renderer::any;
use crate::pass_through::{INPUT, Instance, OUTPUT, straight};

/// The name of the filter.
pub const NAME: &str = "tee";

/// What the filter says of itself.
pub fn descriptor() -> FilterDescriptor {
    let pin = |name, flow| {
        let mut pin = PinDescriptor::new(flow, vec![any()]);
        pin.name = Some(name);
        pin
    };
    let mut pins = vec![pin("In", KsPinDataFlow::IN), pin("Branch", KsPinDataFlow::OUT)];
    pins[OUTPUT as usize].flags = PinFlags::SPLITTER;
    pins[OUTPUT as usize].instances_possible = PinDescriptor::UNLIMITED;
    let categories = [KSCATEGORY_SPLITTER, KSCATEGORY_DATATRANSFORM];
    let mut filter = FilterDescriptor::new(NAME, "Tee", &categories, pins, Arc::new(Tee));
    filter.connections = straight();
    filter.in_place = Some((INPUT, OUTPUT));
    filter.modifies_in_place = false;
    filter
}

struct Tee;

impl FilterDispatch for Tee {
    fn create(&self, filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        Ok(Arc::new(Instance { name: NAME, filter: Mutex::new(Arc::downgrade(filter)) }))
    }
}
