//! What the writers of files have in common: a file from the create of the pin to the end of the stream.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ks_abi::{KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM, KsState, NtStatus, STATUS_PENDING, STATUS_SHARING_VIOLATION};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal, StreamFrame};
use ks_stream::{Framing, Pin, PinInstance};

use crate::media::Result;
use crate::settings::{Setting, SettingError, file_refusal};

/// A kind of file that frames are written to.
pub(crate) trait Writer: Send + Sized + 'static {
    /// What is known of the data ahead of it.
    type Format: Send + Sync + 'static;
    /// The filter that writes it.
    const FILTER: &'static str;

    /// Creates the file.
    fn create(path: &Path, format: &Self::Format) -> Result<Self>;
    /// Appends the data of one frame.
    fn write(&mut self, data: &[u8]) -> Result<()>;
    /// Completes the file.
    fn finish(self) -> Result<()>;
    /// What a pin asks of its allocator.
    fn framing(format: &Self::Format) -> Framing;
    /// How much is in the file, for a message: "12 frames".
    fn extent(&self) -> String;
}

/// The one setting of a writer.
pub(crate) static SETTINGS: &[Setting<Option<PathBuf>>] = &[Setting {
    name: "path",
    kind: "text",
    default: "",
    help: "the file to write; one that exists is overwritten",
    read: |values| values.as_ref().map_or_else(String::new, |path| path.display().to_string()),
    write: |values, text| {
        if text.is_empty() {
            return Err(SettingError::Expected("the name of a file".into()));
        }
        *values = Some(text.into());
        Ok(())
    },
}];

/// The pin of a writer.
pub(crate) struct WriterPin<W: Writer> {
    path: PathBuf,
    format: W::Format,
    /// Open from the create, or from ACQUIRE for a second stream, to the end of the stream or STOP. Taken out while the
    /// pin processes, which the processing mutex keeps to one thread.
    writer: Mutex<Option<W>>,
}

impl<W: Writer> WriterPin<W> {
    /// Creates the file, so that one that cannot be is known before anything streams.
    pub(crate) fn create(path: PathBuf, format: W::Format) -> std::result::Result<Arc<Self>, Refusal> {
        let writer = W::create(&path, &format).map_err(|error| file_refusal(W::FILTER, &error))?;
        Ok(Arc::new(Self { path, format, writer: Mutex::new(Some(writer)) }))
    }

    /// Writes the frames that are there. Returns the writer while the stream goes on.
    fn write_frames(pin: &Arc<Pin>, mut writer: W) -> Option<W> {
        let mut leading = pin.leading_edge();
        while let Some(frame) = leading {
            if let Err(mut refusal) = Self::write_frame(&frame, &mut writer) {
                drop(frame);
                refusal.reason += &format!("; the file has {}", writer.extent());
                pin.fail(refusal);
                return None;
            }
            let ended = frame.options_flags() & KSSTREAM_HEADER_OPTIONSF_ENDOFSTREAM != 0;
            if ended {
                // Before the frame goes: with it goes the news that the stream has ended.
                let finished = writer.finish();
                drop(frame.advance());
                if let Err(error) = finished {
                    pin.fail(file_refusal(W::FILTER, &error));
                }
                return None;
            }
            leading = frame.advance();
        }
        Some(writer)
    }

    fn write_frame(frame: &StreamFrame, writer: &mut W) -> std::result::Result<(), Refusal> {
        let used = frame.data_used() as usize;
        if used == 0 {
            return Ok(());
        }
        let Some(data) = frame.buffer().and_then(|buffer| buffer.read()) else {
            let reason = format!("{}: a frame is still being written by another", W::FILTER);
            return Err(Refusal::new(STATUS_SHARING_VIOLATION, Aspect::Memory, reason));
        };
        writer.write(&data[..used]).map_err(|error| file_refusal(W::FILTER, &error))
    }
}

impl<W: Writer> PinInstance for WriterPin<W> {
    fn framing(&self, _pin: &Pin) -> Option<Framing> {
        Some(W::framing(&self.format))
    }

    fn set_device_state(&self, pin: &Arc<Pin>, to: KsState, from: KsState) -> std::result::Result<(), Refusal> {
        if to == KsState::ACQUIRE && from == KsState::STOP {
            if self.writer.lock().is_none() {
                let writer = W::create(&self.path, &self.format).map_err(|error| file_refusal(W::FILTER, &error))?;
                *self.writer.lock() = Some(writer);
            }
        } else if to == KsState::STOP {
            let writer = self.writer.lock().take();
            if let Some(Err(error)) = writer.map(W::finish) {
                pin.fail(file_refusal(W::FILTER, &error));
            }
        }
        Ok(())
    }

    fn process(&self, pin: &Arc<Pin>) -> NtStatus {
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let writer = Self::write_frames(pin, writer);
            *self.writer.lock() = writer;
        }
        STATUS_PENDING
    }

    fn close(&self, _pin: &Pin) {
        // A pin that never left STOP: its empty file is completed when the writer is dropped.
        let writer = self.writer.lock().take();
        drop(writer);
    }
}
