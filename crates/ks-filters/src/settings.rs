//! Settings of a filter: named values that a client reads and writes as text, by the property set
//! USERKS_PROPSET_SETTINGS, until the filter has a pin.

use std::sync::Arc;

use ks_abi::{
    NtStatus, STATUS_ACCESS_DENIED, STATUS_DATA_ERROR, STATUS_DISK_FULL, STATUS_FILE_IS_A_DIRECTORY,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_IO_DEVICE_ERROR, STATUS_OBJECT_NAME_NOT_FOUND,
    STATUS_SHARING_VIOLATION, STATUS_SUCCESS, USERKS_PROPSET_SETTINGS, USERKS_SETTINGS_LIST,
};
use ks_io::sync::Mutex;
use ks_io::{Aspect, Refusal};
use ks_stream::{AutomationTable, Filter, FilterInstance, PropertyCall, PropertyItem, PropertySet};

use crate::media::MediaError;

/// One setting of a filter whose values are a `V`.
pub(crate) struct Setting<V> {
    /// The key.
    pub(crate) name: &'static str,
    /// What it holds, for a person: `number`, `text`, or the choices with `|` between them.
    pub(crate) kind: &'static str,
    /// The value if it is not set, as text.
    pub(crate) default: &'static str,
    /// What it is for, in one line.
    pub(crate) help: &'static str,
    /// The value as text.
    pub(crate) read: fn(&V) -> String,
    /// Takes a value from text.
    pub(crate) write: Write<V>,
}

/// How a setting takes a value.
#[derive(Debug)]
pub(crate) enum Write<V> {
    /// Puts it among the others. Under the filter control mutex, so it may only look at the text.
    Value(fn(&mut V, &str) -> Result<(), SettingError>),
    /// Opens what the text names, which may take its time, with no lock held; what comes of it replaces all values.
    Opens(fn(&str) -> Result<V, SettingError>),
}

/// Why a setting does not take a value.
#[derive(Debug)]
pub(crate) enum SettingError {
    /// The text is not a value; what would be.
    Expected(String),
    /// The file that it names cannot be used.
    File(MediaError),
}

/// The settings of one open filter.
pub(crate) struct Settings<V: 'static> {
    filter: &'static str,
    values: Mutex<V>,
}

/// An open filter that has settings.
pub(crate) trait HasSettings: FilterInstance + Sized {
    /// Their values.
    type Values: Clone + Send + 'static;

    /// Its own.
    fn settings(&self) -> &Settings<Self::Values>;
}

/// The property set that reads and writes the settings of every filter whose instance is an `I`: one table for all of
/// them, whose handlers find the settings by the filter.
pub(crate) fn automation<I: HasSettings>(table: &'static [Setting<I::Values>]) -> AutomationTable<Filter> {
    let list = PropertyItem::new(USERKS_SETTINGS_LIST)
        .get(move |_: &Filter, call: &mut PropertyCall<'_>| call.answer(list(table).as_bytes()));
    let item = |(id, setting): (u32, &'static Setting<I::Values>)| {
        PropertyItem::new(id)
            .get(move |filter: &Filter, call: &mut PropertyCall<'_>| match own::<I>(filter) {
                Some(settings) => {
                    let text = (setting.read)(&settings.values.lock());
                    call.answer(text.as_bytes())
                }
                None => STATUS_INVALID_DEVICE_STATE,
            })
            .set(move |filter: &Filter, call: &mut PropertyCall<'_>| match own::<I>(filter) {
                Some(settings) => settings.set(setting, filter, call),
                None => STATUS_INVALID_DEVICE_STATE,
            })
    };
    let items = std::iter::once(list).chain((1..).zip(table).map(item)).collect();
    AutomationTable::of_properties(vec![PropertySet { set: USERKS_PROPSET_SETTINGS, items }])
}

/// The settings of the open filter; nobody asks another one.
fn own<I: HasSettings>(filter: &Filter) -> Option<&Settings<I::Values>> {
    filter.instance_as::<I>().map(I::settings)
}

fn list<V>(table: &[Setting<V>]) -> String {
    let line = |setting: &Setting<V>| [setting.name, setting.kind, setting.default, setting.help].join("\t") + "\n";
    table.iter().map(line).collect()
}

impl<V: Clone + Send + 'static> Settings<V> {
    /// Settings of the filter with this name, all at their defaults.
    pub(crate) fn new(filter: &'static str, values: V) -> Arc<Self> {
        Arc::new(Self { filter, values: Mutex::new(values) })
    }

    /// A copy of the values as they are now.
    pub(crate) fn values(&self) -> V {
        self.values.lock().clone()
    }

    fn set(&self, setting: &Setting<V>, filter: &Filter, call: &mut PropertyCall<'_>) -> NtStatus {
        let name = setting.name;
        let Ok(text) = std::str::from_utf8(call.data()) else {
            let reason = format!("{}: {name} is set to bytes that are no UTF-8", self.filter);
            return call.refuse(Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, reason));
        };
        match self.take(setting, filter, text.trim_end_matches('\0')) {
            Ok(()) => STATUS_SUCCESS,
            Err(refusal) => call.refuse(refusal),
        }
    }

    fn take(&self, setting: &Setting<V>, filter: &Filter, text: &str) -> Result<(), Refusal> {
        let (owner, name) = (self.filter, setting.name);
        let refuse = |error| match error {
            SettingError::Expected(expected) => {
                let reason = format!("{owner}: {name}={} is refused; give {expected}", shown(text));
                Refusal::new(STATUS_INVALID_PARAMETER, Aspect::Setting, reason)
            }
            SettingError::File(error) => file_refusal(owner, &error),
        };
        let opened = match setting.write {
            Write::Value(_) => None,
            Write::Opens(open) => Some(open(text).map_err(refuse)?),
        };
        // No pin can be made while its format is being set.
        let control = filter.control().hold();
        let has_pins = (0..filter.descriptor().pin_count()).any(|pin| filter.pin_count(pin) > 0);
        if has_pins {
            let reason = format!("{owner}: {name} can be set only while the filter has no pin");
            return Err(Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::Setting, reason));
        }
        let mut values = opened.unwrap_or_else(|| self.values());
        if let Write::Value(write) = setting.write {
            write(&mut values, text).map_err(refuse)?;
        }
        let replaced = std::mem::replace(&mut *self.values.lock(), values);
        drop(control);
        // A file among them is closed with no lock held.
        drop(replaced);
        Ok(())
    }
}

/// A media error as the refusal of the filter `owner`.
pub(crate) fn file_refusal(owner: &str, error: &MediaError) -> Refusal {
    use std::io::ErrorKind;
    let status = match (error.io_kind(), error) {
        (Some(ErrorKind::NotFound), _) => STATUS_OBJECT_NAME_NOT_FOUND,
        (Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem), _) => STATUS_ACCESS_DENIED,
        (Some(ErrorKind::IsADirectory), _) => STATUS_FILE_IS_A_DIRECTORY,
        (Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge), _) => STATUS_DISK_FULL,
        (Some(_), _) => STATUS_IO_DEVICE_ERROR,
        (None, MediaError::Busy { .. }) => STATUS_SHARING_VIOLATION,
        (None, MediaError::Limit { .. }) => STATUS_DISK_FULL,
        (None, _) => STATUS_DATA_ERROR,
    };
    Refusal::new(status, Aspect::File, format!("{owner}: {error}"))
}

/// The refusal of a filter whose `path` is not set.
pub(crate) fn no_path(owner: &str) -> Refusal {
    Refusal::new(STATUS_INVALID_DEVICE_STATE, Aspect::Setting, format!("{owner}: path is not set; give path=FILE"))
}

/// A whole number within `range`.
pub(crate) fn number(text: &str, range: std::ops::RangeInclusive<u32>) -> Result<u32, SettingError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = text.parse().ok().filter(|number| digits && range.contains(number));
    parsed.ok_or_else(|| SettingError::Expected(format!("a whole number from {} to {}", range.start(), range.end())))
}

/// The text of a setting that asks for nothing in particular.
pub(crate) const ANY: &str = "any";

/// What `parse` makes of the text; `None` for [`ANY`].
pub(crate) fn or_any<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, SettingError>,
) -> Result<Option<T>, SettingError> {
    if text.eq_ignore_ascii_case(ANY) {
        return Ok(None);
    }
    parse(text).map(Some).map_err(|error| match error {
        SettingError::Expected(expected) => SettingError::Expected(format!("{expected}, or {ANY}")),
        other => other,
    })
}

/// `true` or `false`.
pub(crate) fn boolean(text: &str) -> Result<bool, SettingError> {
    text.parse().map_err(|_| SettingError::Expected("true or false".into()))
}

/// One of the named choices, in any case.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, SettingError> {
    let found = choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        SettingError::Expected(format!("one of {}", names.join(", ")))
    })
}

/// A value as it stands in a message: printable and short.
fn shown(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().count() > SHOWN {
        shown += "...";
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_abi::{IoControlCode, KSCATEGORY_FILESYSTEM, KSPROPERTY_TYPE_GET, KSPROPERTY_TYPE_SET, KsIdentifier};
    use ks_io::{AccessMask, IoManager, Services, Transport};
    use ks_stream::{Device, FilterDescriptor, FilterDispatch, Pin, PinInstance};
    use std::sync::OnceLock;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;
    use zerocopy::IntoBytes;

    #[test]
    fn numbers_are_plain_and_in_range() {
        assert!(matches!(number("640", 2..=16_384), Ok(640)));
        for text in ["", "0", "1", "16385", "-1", "+5", "6 ", "0x10", "99999999999"] {
            assert!(number(text, 2..=16_384).is_err(), "{text}");
        }
    }

    /// Opens something when it is told to, or gives up after a minute.
    static OPEN: OnceLock<Mutex<Receiver<()>>> = OnceLock::new();
    static OPENING: OnceLock<Sender<()>> = OnceLock::new();

    static SLOW_AND_QUICK: &[Setting<u32>] = &[
        Setting {
            name: "slow",
            kind: "number",
            default: "0",
            help: "opens a file on a slow disk",
            read: u32::to_string,
            write: Write::Opens(|text| {
                OPENING.get().unwrap().send(()).unwrap();
                let told = OPEN.get().unwrap().lock().recv_timeout(Duration::from_secs(60));
                told.map_err(|_| SettingError::Expected("a word within a minute".into()))?;
                number(text, 0..=9)
            }),
        },
        Setting {
            name: "quick",
            kind: "number",
            default: "0",
            help: "opens nothing",
            read: u32::to_string,
            write: Write::Value(|value, text| number(text, 0..=9).map(|number| *value = number)),
        },
    ];

    struct Slow {
        settings: Arc<Settings<u32>>,
        automation: Arc<AutomationTable<Filter>>,
    }

    impl HasSettings for Slow {
        type Values = u32;

        fn settings(&self) -> &Settings<u32> {
            &self.settings
        }
    }

    impl FilterInstance for Slow {
        fn create_pin(&self, _pin: &Arc<Pin>) -> Result<Arc<dyn PinInstance>, Refusal> {
            unreachable!("the filter has no pin factory")
        }

        fn automation(&self) -> Option<&AutomationTable<Filter>> {
            Some(&self.automation)
        }
    }

    struct Dispatch(Arc<AutomationTable<Filter>>);

    impl FilterDispatch for Dispatch {
        fn create(&self, _filter: &Arc<Filter>) -> Result<Arc<dyn FilterInstance>, Refusal> {
            Ok(Arc::new(Slow { settings: Settings::new("slow-filter", 0), automation: self.0.clone() }))
        }
    }

    #[test]
    fn a_setting_that_opens_a_file_holds_up_no_other_request_to_the_filter() {
        let (open, told) = channel();
        OPEN.set(Mutex::new(told)).ok().unwrap();
        let (opening, begun) = channel();
        OPENING.set(opening).ok().unwrap();
        let io = IoManager::new(Services::real());
        let dispatch = Arc::new(Dispatch(Arc::new(automation::<Slow>(SLOW_AND_QUICK))));
        let descriptor = FilterDescriptor::new("slow-filter", "Slow", &[KSCATEGORY_FILESYSTEM], Vec::new(), dispatch);
        let device = Device::start(&io, "slow-filter", vec![Arc::new(descriptor)]).unwrap();
        let session = io.session();
        let link = &session.interfaces(None)[0].symbolic_link;
        let filter = session.open(link, AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE)).unwrap();
        let request = |id, kind, value: &mut [u8]| {
            let property = KsIdentifier::new(USERKS_PROPSET_SETTINGS, id, kind);
            session.device_io_control(filter, IoControlCode::KS_PROPERTY, property.as_bytes(), value).status
        };
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| request(1, KSPROPERTY_TYPE_SET, &mut b"7".to_vec()));
            begun.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(request(2, KSPROPERTY_TYPE_SET, &mut b"5".to_vec()), STATUS_SUCCESS);
            open.send(()).unwrap();
            assert_eq!(slow.join().unwrap(), STATUS_SUCCESS);
        });
        let mut value = [0];
        assert_eq!(request(1, KSPROPERTY_TYPE_GET, &mut value), STATUS_SUCCESS);
        assert_eq!(&value, b"7");
        session.close(filter);
        device.surprise_remove();
    }

    #[test]
    fn filters_of_one_factory_share_a_table_and_have_values_of_their_own() {
        let io = IoManager::new(Services::real());
        let dispatch = Arc::new(Dispatch(Arc::new(automation::<Slow>(SLOW_AND_QUICK))));
        let descriptor = FilterDescriptor::new("two-filters", "Two", &[KSCATEGORY_FILESYSTEM], Vec::new(), dispatch);
        let device = Device::start(&io, "two-filters", vec![Arc::new(descriptor)]).unwrap();
        let session = io.session();
        let link = &session.interfaces(None)[0].symbolic_link;
        let access = AccessMask::GENERIC_READ.union(AccessMask::GENERIC_WRITE);
        let filters = [0; 2].map(|_| session.open(link, access).unwrap());
        let request = |filter, kind, value: &mut [u8]| {
            let property = KsIdentifier::new(USERKS_PROPSET_SETTINGS, 2, kind);
            session.device_io_control(filter, IoControlCode::KS_PROPERTY, property.as_bytes(), value).status
        };
        assert_eq!(request(filters[0], KSPROPERTY_TYPE_SET, &mut b"5".to_vec()), STATUS_SUCCESS);
        let values = filters.map(|filter| {
            let mut value = [0];
            assert_eq!(request(filter, KSPROPERTY_TYPE_GET, &mut value), STATUS_SUCCESS);
            session.close(filter);
            value
        });
        assert_eq!(values, [*b"5", *b"0"]);
        device.surprise_remove();
    }

    #[test]
    fn a_refused_choice_lists_all() {
        let choices = [("sine", 1), ("noise", 2)];
        assert!(matches!(choice("SINE", &choices), Ok(1)));
        let Err(SettingError::Expected(expected)) = choice("saw", &choices) else { panic!("refused") };
        assert_eq!(expected, "one of sine, noise");
    }
}
