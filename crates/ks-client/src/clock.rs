//! A clock as its client sees it.

use crate::error::ClientError;
use crate::object::Object;
use ks_abi::{
    KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME, KSPROPERTY_CLOCK_CORRELATEDTIME, KSPROPERTY_CLOCK_PHYSICALTIME,
    KSPROPERTY_CLOCK_RESOLUTION, KSPROPERTY_CLOCK_STATE, KSPROPERTY_CLOCK_TIME, KSPROPSETID_Clock, KsCorrelatedTime,
    KsResolution, KsState,
};

/// An open clock of a pin. Dropping it closes its handle; a pin that follows the clock keeps it.
#[derive(Debug)]
pub struct Clock {
    object: Object,
}

impl Clock {
    pub(crate) fn new(object: Object) -> Clock {
        Clock { object }
    }

    /// The handle and the raw requests.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Presentation time in 100-ns units.
    pub fn time_100ns(&self) -> Result<i64, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_TIME)
    }

    /// Physical time in 100-ns units, which never goes back.
    pub fn physical_time_100ns(&self) -> Result<i64, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_PHYSICALTIME)
    }

    /// Presentation time with the system time of the same moment.
    pub fn correlated_time(&self) -> Result<KsCorrelatedTime, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_CORRELATEDTIME)
    }

    /// Physical time with the system time of the same moment.
    pub fn correlated_physical_time(&self) -> Result<KsCorrelatedTime, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_CORRELATEDPHYSICALTIME)
    }

    /// Granularity and error.
    pub fn resolution(&self) -> Result<KsResolution, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_RESOLUTION)
    }

    /// The state of the clock.
    pub fn state(&self) -> Result<KsState, ClientError> {
        self.object.property(KSPROPSETID_Clock, KSPROPERTY_CLOCK_STATE)
    }
}
