//! Reports of quality: a pin that cannot keep up, or that gets too little, tells the quality manager that its client named.
//!
//! A minidriver puts [`quality_manager_item`] into the automation table of a pin that complains, and calls
//! [`Pin::report_quality`]; the class driver keeps the manager's file object and sends KSPROPERTY_QUALITY_REPORT to it.
//! A pin that can do something about it answers that property by an item of its own.
//!
//! Source: "Quality management", "KSPROPERTY_STREAM_QUALITY", "KSPROPERTY_QUALITY_REPORT", "KSPROPERTY_QUALITY_ERROR".

use crate::automation::PropertyItem;
use crate::pin::Pin;
use crate::property::PropertyCall;
use ks_abi::{
    IoControlCode, KSPROPERTY_QUALITY_ERROR, KSPROPERTY_QUALITY_REPORT, KSPROPERTY_STREAM_QUALITY, KSPROPERTY_TYPE_SET,
    KSPROPSETID_Quality, KsError, KsProperty, KsQuality, KsQualityManager, NtStatus, Ptr64, STATUS_INVALID_HANDLE,
    STATUS_SUCCESS,
};
use ks_io::sync::Arc;
use ks_io::{
    CompletedRequest, CompletionRoutine, FileObject, Irp, Level, Origin, Reply, RequestParts, Ticks, Work, WorkQueue,
    deferred,
};
use zerocopy::IntoBytes;

/// Whom a pin complains to.
#[derive(Clone)]
pub(crate) struct QualityManager {
    file: Arc<FileObject>,
    /// Comes back in each report.
    context: Ptr64,
}

/// The item for KSPROPERTY_STREAM_QUALITY: the pin keeps the manager that the handle names until another is named, 0 is
/// none. A handle that names nothing of the client's is STATUS_INVALID_HANDLE. It is let go of when the pin's last handle
/// is closed, so a pin may be its own manager.
#[doc(alias = "KSPROPERTY_STREAM_QUALITY")]
pub fn quality_manager_item() -> PropertyItem<Pin> {
    PropertyItem::new(KSPROPERTY_STREAM_QUALITY).data_bytes(size_of::<KsQualityManager>()).set(set_manager)
}

fn set_manager(pin: &Pin, call: &mut PropertyCall<'_>) -> NtStatus {
    let named: KsQualityManager = match call.data_as() {
        Ok(named) => named,
        Err(status) => return status,
    };
    let manager = match (named.quality_manager, call.file_object()) {
        (0, _) => None,
        (handle, Some(own)) => match own.file_by_handle(handle) {
            Some(file) => Some(QualityManager { file, context: named.context }),
            None => return STATUS_INVALID_HANDLE,
        },
        (_, None) => return STATUS_INVALID_HANDLE,
    };
    // The old one goes after the lock is released: this may have been its last reference.
    let old = std::mem::replace(&mut *pin.quality_manager().lock(), manager);
    drop(old);
    STATUS_SUCCESS
}

impl Pin {
    /// Tells the quality manager how the stream does: the thousandths of the data that could be handled, and by how much
    /// it is late (above zero) or early. Without a manager nothing happens. Legal in every callback and at every level: the
    /// report goes when the thread leaves the engine, and nobody waits for it.
    #[doc(alias = "KSPROPERTY_QUALITY_REPORT")]
    pub fn report_quality(self: &Arc<Pin>, proportion: u32, late: Ticks) {
        let report = |context| KsQuality { context, proportion, delta_time: late.0, ..KsQuality::default() };
        self.complain(KSPROPERTY_QUALITY_REPORT, |context| report(context).as_bytes().to_vec());
    }

    /// Tells the quality manager of an error; as [`Pin::report_quality`].
    #[doc(alias = "KSPROPERTY_QUALITY_ERROR")]
    pub fn report_quality_error(self: &Arc<Pin>, status: NtStatus) {
        let report = |context| KsError { context, status, ..KsError::default() };
        self.complain(KSPROPERTY_QUALITY_ERROR, |context| report(context).as_bytes().to_vec());
    }

    fn complain(self: &Arc<Pin>, id: u32, report: impl FnOnce(Ptr64) -> Vec<u8>) {
        let Some(manager) = self.quality_manager().lock().clone() else { return };
        let data = report(manager.context);
        deferred::run_later(Arc::new(Complaint { pin: self.clone(), file: manager.file, id, data }));
    }
}

struct Complaint {
    /// Its time and work are the engine's.
    pin: Arc<Pin>,
    file: Arc<FileObject>,
    id: u32,
    data: Vec<u8>,
}

impl Work for Complaint {
    fn run(self: Arc<Self>) {
        if ks_io::holds_ranked_mutex() || Level::current() != Level::Passive {
            // The manager's handler may take mutexes of its own, and wait.
            let services = self.pin.services().clone();
            return services.queue_work(WorkQueue::Delayed, self);
        }
        let request = KsProperty::new(KSPROPSETID_Quality, self.id, KSPROPERTY_TYPE_SET);
        let parts = RequestParts {
            code: IoControlCode::KS_PROPERTY,
            input: request.as_bytes(),
            output: &self.data,
            output_bytes: self.data.len(),
            input_token: 0,
            output_token: 0,
        };
        let routine: Arc<dyn CompletionRoutine> = Arc::new(Sent);
        // A manager that is closed, or that answers no reports, is none of the pin's concern.
        if let Ok(irp) = Irp::device_control(&self.file, &Origin::class_driver(), parts, Reply::Routine(routine)) {
            drop(self.file.dispatch(irp));
        }
    }
}

struct Sent;

impl CompletionRoutine for Sent {
    fn completed(self: Arc<Self>, _request: CompletedRequest) {}
}
