//! An engine with all built-in filters, each on a device of its own.

use std::sync::Arc;

use ks_abi::NtStatus;
use ks_io::{DeviceObject, IoManager, Services, Session};
use ks_stream::{DescribeFilter, Device, FilterDescriptor};

/// An engine with the built-in filters, and what keeps it alive.
#[derive(Debug)]
pub struct System {
    /// The engine.
    pub io: Arc<IoManager>,
    /// The devices, one a filter, of the same names; those of `looped-speaker` and `looped-microphone` have a topology filter, too.
    pub devices: Vec<Arc<Device>>,
}

/// Starts an engine with all built-in filters on the given time, work and waiting.
///
/// # Errors
/// The status with which the class driver refused a device: there is no memory.
pub fn system(services: Services) -> Result<System, NtStatus> {
    let io = IoManager::new(services);
    let start = |filters: Vec<FilterDescriptor>| {
        // A device has the name of its first filter.
        let name = filters.first().map_or("", |first| first.reference);
        let factories = filters.into_iter().map(|filter| Arc::new(filter) as Arc<dyn DescribeFilter>).collect();
        Device::start(&io, name, factories)
    };
    let alone = descriptors().into_iter().map(|filter| vec![filter]);
    let looped = [crate::looped_speaker::descriptors(), crate::looped_microphone::descriptors()];
    let devices = alone.chain(looped).map(start).collect::<Result<_, _>>()?;
    Ok(System { io, devices })
}

/// What the built-in filters say of themselves that have a device of their own.
pub fn descriptors() -> Vec<FilterDescriptor> {
    vec![
        crate::test_camera::descriptor(),
        crate::test_microphone::descriptor(),
        crate::test_speaker::descriptor(),
        crate::wav_reader::descriptor(),
        crate::wav_writer::descriptor(),
        crate::y4m_reader::descriptor(),
        crate::y4m_writer::descriptor(),
        crate::null_renderer::descriptor(),
        crate::pass_through::descriptor(),
        crate::tee::descriptor(),
        crate::delay::descriptor(),
        #[cfg(feature = "symphonia")]
        crate::audio_reader::descriptor(),
        crate::audio_converter::descriptor(),
        crate::video_converter::descriptor(),
        crate::video_effect::invert(),
        crate::video_effect::level(),
    ]
}

impl System {
    /// The engine.
    pub fn io(&self) -> &Arc<IoManager> {
        &self.io
    }

    /// A new client of the engine.
    pub fn session(&self) -> Arc<Session> {
        self.io.session()
    }

    /// The device with this name.
    pub fn device(&self, name: &str) -> Option<&Arc<Device>> {
        self.devices.iter().find(|device| device.name() == name)
    }
}
