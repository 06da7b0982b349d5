//! The events of a pin: the minidriver's own, and those of frames that leave.

use super::Pin;
use crate::descriptor::PinFlags;
use crate::event::{EventList, EventToken};
use ks_abi::{
    KSEVENT_CONNECTION_DATADISCONTINUITY, KSEVENT_CONNECTION_ENDOFSTREAM, KSEVENT_CONNECTION_TIMEDISCONTINUITY,
    KSEVENTSETID_Connection, KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY, KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM,
    KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY, KsPinDataFlow,
};
use ks_io::sync::Arc;

impl Pin {
    /// Raises every enabled event of this set and item on the pin.
    // ks-coverage: KsPinGenerateEvents done test=a_drivers_event_is_agreed_raised_and_removed,every_inline_function_of_the_headers_works_on_living_objects
    #[doc(alias = "KsPinGenerateEvents")]
    pub fn generate_events(&self, set: ks_abi::Guid, id: u32) {
        self.events.generate(set, id);
    }

    /// Raises one enabled event of the pin.
    pub fn generate_event(&self, event: EventToken) {
        self.events.generate_one(event);
    }

    /// Raises every enabled event of this set and item on the pin, with data for clients that fetch it by
    /// KSEVENT_TYPE_QUERYBUFFER. STATUS_INSUFFICIENT_RESOURCES: a buffer had no room for it.
    #[doc(alias = "KsPinGenerateEvents")]
    pub fn generate_data_events(&self, set: ks_abi::Guid, id: u32, data: &[u8]) -> ks_abi::NtStatus {
        self.events.generate_with(set, id, data)
    }

    /// The enabled events of this item that the minidriver's table does not have, of one set or of any (`None`): what it
    /// can raise beside its own, see [`Pin::generate_data_event`].
    pub fn built_in_events(&self, set: Option<ks_abi::Guid>, id: u32) -> Vec<crate::BuiltInEvent> {
        self.events.built_in(set, id)
    }

    /// Raises one enabled event of the pin with data, see [`Pin::generate_data_events`].
    #[doc(alias = "KsGenerateDataEvent")]
    pub fn generate_data_event(&self, event: EventToken, data: &[u8]) -> ks_abi::NtStatus {
        self.events.generate_one_with(event, data)
    }

    /// The events that clients enabled.
    pub(crate) fn events(&self) -> &EventList {
        &self.events
    }

    /// Frames with these options flags, of those that raise events, have left this pin.
    #[cold]
    pub(crate) fn stream_events(self: &Arc<Pin>, flags: u32) {
        // ks-coverage: KSEVENT_CONNECTION_DATADISCONTINUITY done test=a_discontinuity_in_the_stream_raises_its_event
        if flags & KSSTREAM_HEADER_OPTIONSF_DATADISCONTINUITY != 0 {
            self.events.generate(KSEVENTSETID_Connection, KSEVENT_CONNECTION_DATADISCONTINUITY);
        }
        // ks-coverage: KSEVENT_CONNECTION_TIMEDISCONTINUITY done test=a_discontinuity_in_the_stream_raises_its_event
        if flags & KSSTREAM_HEADER_OPTIONSF_TIMEDISCONTINUITY != 0 {
            self.events.generate(KSEVENTSETID_Connection, KSEVENT_CONNECTION_TIMEDISCONTINUITY);
        }
        if flags & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM == 0 {
            return;
        }
        if self.flags().contains(PinFlags::GENERATE_EOS_EVENTS) {
            // ks-coverage: KSEVENT_CONNECTION_ENDOFSTREAM done test=frames_flow_from_source_to_sink_in_order,the_end_of_the_stream_is_an_event_at_both_ends
            self.events.generate(KSEVENTSETID_Connection, KSEVENT_CONNECTION_ENDOFSTREAM);
        }
        if self.data_flow() == KsPinDataFlow::OUT {
            self.output_ended();
        }
    }
}
