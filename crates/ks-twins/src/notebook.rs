//! `notebook`: reads how it is set up, keeps a note in a file, and answers both by properties.
//!
//! The twin of `drivers/notebook/notebook.c`. A driver in C opens its registry key and its file by routines of the kernel.
//! The class driver has no such services, so the twin is handed what it needs when it starts: the same text that is the
//! registry of the driver, and its files. What it cannot do is write a setting: a minidriver in Rust has no registry key.

use std::sync::Arc;

use ks_abi::{Guid, KSCATEGORY_RENDER, NtStatus, STATUS_OBJECT_NAME_NOT_FOUND, STATUS_SUCCESS};
use ks_io::{Aspect, Refusal};
use ks_stream::{
    AutomationTable, Filter, FilterDescriptor, FilterDispatch, FilterInstance, Pin, PinInstance, PropertyCall,
    PropertyItem, PropertySet,
};

use crate::{Files, Surroundings};

const NOTEBOOK_SET: Guid = Guid::from_u128(0x2f8d2a10_6c35_4e0e_8a2b_0d5f2c3b7e06);

const COUNT: u32 = 0;
const TITLE: u32 = 1;
const NOTE: u32 = 2;

/// Characters of a title, in UTF-16, with its terminator.
const TITLE_UNITS: usize = 32;
const NOTE_FILE: &str = "C/note.txt";
/// The longest note that is read.
const MOST_NOTE_BYTES: usize = 1 << 20;

/// What the filter says of itself, after its settings were read.
pub(crate) fn descriptor(surroundings: &Surroundings) -> Result<FilterDescriptor, String> {
    let notebook = Notebook::new(surroundings)?;
    let reference = "{1A4F3E52-7F0B-4C60-9D35-2B5E84110C08}";
    Ok(FilterDescriptor::new(reference, "notebook", &[KSCATEGORY_RENDER], Vec::new(), Arc::new(notebook)))
}

#[derive(Clone)]
struct Notebook {
    count: u32,
    /// UTF-16, little end first, as the property answers it.
    title: Vec<u8>,
    files: Option<Arc<dyn Files>>,
}

impl Notebook {
    fn new(surroundings: &Surroundings) -> Result<Notebook, String> {
        let settings: toml::Table = surroundings.settings.parse().map_err(|error| format!("its settings: {error}"))?;
        let value = |name| settings.get("Parameters")?.get(name);
        let count = value("Count").and_then(toml::Value::as_integer).and_then(|count| u32::try_from(count).ok());
        let count = count.unwrap_or(3);
        let text = value("Title").and_then(toml::Value::as_str).unwrap_or_default();
        let units = text.encode_utf16().chain(std::iter::repeat(0)).take(TITLE_UNITS - 1).chain([0]);
        let title = units.flat_map(u16::to_le_bytes).collect();
        let notebook = Notebook { count, title, files: surroundings.files.clone() };
        if notebook.note().is_ok() {
            println!("notebook: there is a note already");
        }
        println!("notebook: count {count}, title '{text}'");
        Ok(notebook)
    }

    fn files(&self) -> Result<&dyn Files, NtStatus> {
        self.files.as_deref().ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
    }

    fn note(&self) -> Result<Vec<u8>, NtStatus> {
        self.files()?.read(NOTE_FILE, MOST_NOTE_BYTES)
    }

    fn automation(self) -> AutomationTable<Filter> {
        let [title, reader, writer] = [self.clone(), self.clone(), self.clone()];
        let items = vec![
            PropertyItem::new(COUNT)
                .data_bytes(size_of::<u32>())
                .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer_value(&self.count)),
            PropertyItem::new(TITLE)
                .data_bytes(2 * TITLE_UNITS)
                .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer(&title.title)),
            PropertyItem::new(NOTE)
                .data_bytes(1)
                .get(move |_: &Filter, call: &mut PropertyCall<'_>| match reader.note() {
                    Ok(note) => call.answer(&note[..note.len().min(call.answer_limit())]),
                    Err(status) => status,
                })
                .set(move |_: &Filter, call: &mut PropertyCall<'_>| {
                    let written = writer.files().and_then(|files| files.write(NOTE_FILE, call.data()));
                    written.err().unwrap_or(STATUS_SUCCESS)
                }),
        ];
        AutomationTable::of_properties(vec![PropertySet { set: NOTEBOOK_SET, items }])
    }
}

impl FilterDispatch for Notebook {
    fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
        let automation = self.clone().automation();
        Ok(Arc::new(NotebookFilter { automation }))
    }
}

struct NotebookFilter {
    automation: AutomationTable<Filter>,
}

impl FilterInstance for NotebookFilter {
    fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
        Err(Refusal::new(ks_abi::STATUS_INVALID_PARAMETER, Aspect::PinId, "a notebook has no pins"))
    }

    fn automation(&self) -> Option<&AutomationTable<Filter>> {
        Some(&self.automation)
    }
}
