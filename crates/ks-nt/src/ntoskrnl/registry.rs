//! The registry that a driver sees: a tree of keys in memory, filled from a TOML text.
//!
//! The text describes the driver's service key: its values, and its subkeys as tables. A table whose name begins with a
//! backslash is another key: `\Device` the hardware key of the driver's device, `\Driver` the device's driver key,
//! `\Interface` the key of its device interfaces, and any other the absolute name of a key.
//!
//! ```toml
//! FrameRate = 30                 # REG_DWORD, or REG_QWORD if it is too large
//! Name = "Test camera"           # REG_SZ
//! Modes = ["slow", "fast"]       # REG_MULTI_SZ
//! Table = { type = "REG_BINARY", data = "00 01 FE" }
//!
//! [Parameters]
//! Seed = 7
//!
//! ["\\Device"]
//! FriendlyName = "A camera of a test"
//! ```
//!
//! What a driver writes stays in memory and is gone with the process.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use ks_abi::status::{
    NtStatus, STATUS_INSUFFICIENT_RESOURCES, STATUS_OBJECT_NAME_INVALID, STATUS_OBJECT_NAME_NOT_FOUND,
};

/// STATUS_KEY_DELETED
const STATUS_KEY_DELETED: NtStatus = NtStatus(0xC000_017C);
/// STATUS_CANNOT_DELETE
const STATUS_CANNOT_DELETE: NtStatus = NtStatus(0xC000_0121);

const SERVICES: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Services";
const DEVICE: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Enum\\ROOT\\USERKS\\0000\\Device Parameters";
const DRIVER: &str =
    "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\Class\\{4D36E96C-E325-11CE-BFC1-08002BE10318}\\0000";
const INTERFACE: &str = "\\Registry\\Machine\\System\\CurrentControlSet\\Control\\DeviceClasses\\Device Parameters";

/// Most keys, values of a key and bytes of a value, so that a driver cannot eat the machine.
const MOST_KEYS: usize = 65_536;
const MOST_VALUES: usize = 65_536;
const MOST_BYTES: usize = 1 << 20;

/// REG_* types of values.
pub(crate) const REG_NONE: u32 = 0;
pub(crate) const REG_SZ: u32 = 1;
pub(crate) const REG_EXPAND_SZ: u32 = 2;
pub(crate) const REG_BINARY: u32 = 3;
pub(crate) const REG_DWORD: u32 = 4;
pub(crate) const REG_MULTI_SZ: u32 = 7;
pub(crate) const REG_QWORD: u32 = 11;

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

/// A key, by its number; the number of a deleted key is never used again.
pub(crate) type KeyId = u64;

#[derive(Clone, Debug)]
struct Key {
    name: String,
    parent: KeyId,
    children: Vec<KeyId>,
    values: Vec<Value>,
}

/// All keys.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    keys: HashMap<KeyId, Key>,
    last: KeyId,
    service: String,
}

/// Why a registry file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It is no TOML.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value is of a type that the registry does not have.
    #[error("{key}: {what}")]
    Value {
        /// Where.
        key: String,
        /// What is wrong.
        what: String,
    },
}

static TREE: LazyLock<Mutex<Tree>> = LazyLock::new(|| Mutex::new(Tree::new("driver")));

pub(crate) fn tree() -> MutexGuard<'static, Tree> {
    TREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds what a text says of a driver whose service has this name; it is the one whose parameters are opened from now on.
///
/// # Errors
/// The text is no TOML, or has a value that the registry cannot hold; the registry is then as it was.
pub fn load(service: &str, text: &str) -> Result<(), RegistryError> {
    let table: toml::Table = text.parse()?;
    let mut made = tree().clone();
    made.add_service(service);
    let root = made.service_key();
    for (name, item) in table {
        match (name.starts_with('\\'), item) {
            (true, toml::Value::Table(table)) => {
                let path = match name.as_str() {
                    "\\Device" => DEVICE,
                    "\\Driver" => DRIVER,
                    "\\Interface" => INTERFACE,
                    other => other,
                };
                let key = made.create(0, path).map_err(|status| RegistryError::Value {
                    key: name.clone(),
                    what: format!("cannot be made: {status}"),
                })?;
                made.fill(key, table)?;
            }
            (_, item) => made.fill(root, toml::Table::from_iter([(name, item)]))?,
        }
    }
    *tree() = made;
    Ok(())
}

/// The path that a driver's entry point is given.
pub fn service_path() -> String {
    format!("{SERVICES}\\{}", tree().service)
}

impl Tree {
    fn new(service: &str) -> Self {
        let root = Key { name: String::new(), parent: 0, children: Vec::new(), values: Vec::new() };
        let mut tree = Self { keys: HashMap::from([(0, root)]), last: 0, service: service.to_owned() };
        tree.add_service(service);
        for path in [DEVICE, DRIVER, INTERFACE] {
            let made = tree.create(0, path);
            debug_assert!(made.is_ok());
        }
        tree
    }

    fn add_service(&mut self, service: &str) {
        service.clone_into(&mut self.service);
        let made = self.create(0, &format!("{SERVICES}\\{service}\\Parameters"));
        debug_assert!(made.is_ok());
    }

    fn service_key(&mut self) -> KeyId {
        let path = format!("{SERVICES}\\{}", self.service);
        self.open(0, &path).unwrap_or(0)
    }

    /// Fills a key from a table of the file.
    fn fill(&mut self, key: KeyId, table: toml::Table) -> Result<(), RegistryError> {
        for (name, item) in table {
            let wrong = |what: String| RegistryError::Value { key: name.clone(), what };
            match item {
                toml::Value::Table(table) if table.contains_key("type") && table.contains_key("data") => {
                    let (kind, data) = typed_value(&table).map_err(wrong)?;
                    let _ = self.set(key, &name, kind, data);
                }
                toml::Value::Table(table) => {
                    let child = self.create(key, &name).map_err(|status| wrong(format!("cannot be made: {status}")))?;
                    self.fill(child, table)?;
                }
                item => {
                    let (kind, data) = plain_value(&item).map_err(wrong)?;
                    let _ = self.set(key, &name, kind, data);
                }
            }
        }
        Ok(())
    }

    /// The child of this name, without case.
    fn child(&self, key: KeyId, name: &str) -> Option<KeyId> {
        let wanted = name.to_uppercase();
        let children = &self.keys.get(&key)?.children;
        children.iter().copied().find(|child| self.keys.get(child).is_some_and(|key| key.name.to_uppercase() == wanted))
    }

    fn start<'a>(&self, root: KeyId, path: &'a str) -> Result<Vec<&'a str>, NtStatus> {
        if !self.keys.contains_key(&root) {
            return Err(STATUS_KEY_DELETED);
        }
        let parts: Vec<&str> = path.split('\\').filter(|part| !part.is_empty()).collect();
        if root != 0 {
            return if path.starts_with('\\') { Err(STATUS_OBJECT_NAME_INVALID) } else { Ok(parts) };
        }
        match parts.split_first() {
            Some((first, rest)) if first.eq_ignore_ascii_case("Registry") => Ok(rest.to_vec()),
            _ => Err(STATUS_OBJECT_NAME_NOT_FOUND),
        }
    }

    /// A key by its path below `root`; below 0, the path is absolute.
    pub(crate) fn open(&self, root: KeyId, path: &str) -> Result<KeyId, NtStatus> {
        let mut key = root;
        for part in self.start(root, path)? {
            key = self.child(key, part).ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        }
        Ok(key)
    }

    /// As `open`; makes what is missing.
    pub(crate) fn create(&mut self, root: KeyId, path: &str) -> Result<KeyId, NtStatus> {
        let mut key = root;
        for part in self.start(root, path)? {
            key = match self.child(key, part) {
                Some(child) => child,
                None if self.keys.len() >= MOST_KEYS => return Err(STATUS_INSUFFICIENT_RESOURCES),
                None => {
                    self.last += 1;
                    let made = Key { name: part.to_owned(), parent: key, children: Vec::new(), values: Vec::new() };
                    self.keys.insert(self.last, made);
                    if let Some(parent) = self.keys.get_mut(&key) {
                        parent.children.push(self.last);
                    }
                    self.last
                }
            };
        }
        Ok(key)
    }

    fn key(&self, key: KeyId) -> Result<&Key, NtStatus> {
        self.keys.get(&key).ok_or(STATUS_KEY_DELETED)
    }

    /// Removes a key without subkeys.
    pub(crate) fn delete(&mut self, id: KeyId) -> Result<(), NtStatus> {
        let key = self.key(id)?;
        if !key.children.is_empty() || id == 0 {
            return Err(STATUS_CANNOT_DELETE);
        }
        let parent = key.parent;
        self.keys.remove(&id);
        if let Some(parent) = self.keys.get_mut(&parent) {
            parent.children.retain(|child| *child != id);
        }
        Ok(())
    }

    /// The name of a key; `path` is the whole.
    pub(crate) fn name(&self, id: KeyId) -> Result<String, NtStatus> {
        Ok(self.key(id)?.name.clone())
    }

    pub(crate) fn path(&self, id: KeyId) -> Result<String, NtStatus> {
        let mut path = String::new();
        let mut at = id;
        while at != 0 {
            let key = self.key(at)?;
            path = format!("\\{}{path}", key.name);
            at = key.parent;
        }
        Ok(format!("\\REGISTRY{path}"))
    }

    pub(crate) fn children(&self, id: KeyId) -> Result<&[KeyId], NtStatus> {
        Ok(&self.key(id)?.children)
    }

    pub(crate) fn values(&self, id: KeyId) -> Result<&[Value], NtStatus> {
        Ok(&self.key(id)?.values)
    }

    /// A value by its name, without case.
    pub(crate) fn value(&self, id: KeyId, name: &str) -> Result<Value, NtStatus> {
        let wanted = name.to_uppercase();
        let found = self.key(id)?.values.iter().find(|value| value.name.to_uppercase() == wanted);
        found.cloned().ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
    }

    pub(crate) fn set(&mut self, id: KeyId, name: &str, kind: u32, data: Vec<u8>) -> Result<(), NtStatus> {
        let key = self.keys.get_mut(&id).ok_or(STATUS_KEY_DELETED)?;
        if data.len() > MOST_BYTES || key.values.len() >= MOST_VALUES {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        let wanted = name.to_uppercase();
        match key.values.iter_mut().find(|value| value.name.to_uppercase() == wanted) {
            Some(value) => (value.kind, value.data) = (kind, data),
            None => key.values.push(Value { name: name.to_owned(), kind, data }),
        }
        Ok(())
    }

    pub(crate) fn delete_value(&mut self, id: KeyId, name: &str) -> Result<(), NtStatus> {
        let key = self.keys.get_mut(&id).ok_or(STATUS_KEY_DELETED)?;
        let wanted = name.to_uppercase();
        let at = key.values.iter().position(|value| value.name.to_uppercase() == wanted);
        key.values.remove(at.ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?);
        Ok(())
    }
}

/// Paths of the keys that routines open by what they are for.
pub(crate) fn known_path(which: Known) -> String {
    match which {
        Known::Device => DEVICE.to_owned(),
        Known::Driver => DRIVER.to_owned(),
        Known::Interface => INTERFACE.to_owned(),
        Known::Parameters => format!("{}\\Parameters", service_path()),
    }
}

/// Such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Device,
    Driver,
    Interface,
    Parameters,
}

/// A string as a value has it: UTF-16 with a terminator.
pub(crate) fn string_data(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn plain_value(item: &toml::Value) -> Result<(u32, Vec<u8>), String> {
    Ok(match item {
        toml::Value::String(text) => (REG_SZ, string_data(text)),
        toml::Value::Boolean(flag) => (REG_DWORD, u32::from(*flag).to_le_bytes().to_vec()),
        toml::Value::Integer(number) => match (u32::try_from(*number), i32::try_from(*number)) {
            (Ok(number), _) => (REG_DWORD, number.to_le_bytes().to_vec()),
            (_, Ok(number)) => (REG_DWORD, number.to_le_bytes().to_vec()),
            _ => (REG_QWORD, number.to_le_bytes().to_vec()),
        },
        toml::Value::Array(items) => {
            let mut data = Vec::new();
            for item in items {
                let text = item.as_str().ok_or("a list has strings only")?;
                data.extend(string_data(text));
            }
            data.extend([0, 0]);
            (REG_MULTI_SZ, data)
        }
        _ => return Err("is no integer, string, list of strings or { type, data }".to_owned()),
    })
}

fn typed_value(table: &toml::Table) -> Result<(u32, Vec<u8>), String> {
    let kind = table["type"].as_str().unwrap_or_default();
    let data = &table["data"];
    let (number, text) = (data.as_integer(), data.as_str());
    Ok(match kind {
        "REG_SZ" => (REG_SZ, string_data(text.ok_or("data is no string")?)),
        "REG_EXPAND_SZ" => (REG_EXPAND_SZ, string_data(text.ok_or("data is no string")?)),
        "REG_MULTI_SZ" => plain_value(data)?,
        "REG_DWORD" => (REG_DWORD, (number.ok_or("data is no integer")? as u32).to_le_bytes().to_vec()),
        "REG_QWORD" => (REG_QWORD, number.ok_or("data is no integer")?.to_le_bytes().to_vec()),
        "REG_BINARY" | "REG_NONE" => {
            let digits: Vec<u32> = text
                .ok_or("data is no string of hexadecimal digits")?
                .chars()
                .filter(|c| !c.is_whitespace())
                .map(|c| c.to_digit(16).ok_or(format!("'{c}' is no hexadecimal digit")))
                .collect::<Result<_, _>>()?;
            let data =
                digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit) as u8).collect();
            (if kind == "REG_NONE" { REG_NONE } else { REG_BINARY }, data)
        }
        other => return Err(format!("'{other}' is no type of a value")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_without_case_and_deleted_only_when_empty() {
        let mut tree = Tree::new("x");
        let key = tree.create(0, "\\Registry\\Machine\\A\\B").expect("a path below the root");
        assert_eq!(tree.open(0, "\\REGISTRY\\MACHINE\\a\\b"), Ok(key));
        assert_eq!(tree.path(key).as_deref(), Ok("\\REGISTRY\\Machine\\A\\B"));
        let parent = tree.open(0, "\\Registry\\Machine\\A").expect("made on the way");
        assert_eq!(tree.delete(parent), Err(STATUS_CANNOT_DELETE));
        assert_eq!(tree.delete(key), Ok(()));
        assert_eq!(tree.values(key), Err(STATUS_KEY_DELETED));
        assert_eq!(tree.open(parent, "B"), Err(STATUS_OBJECT_NAME_NOT_FOUND));
        assert_eq!(tree.open(0, "Elsewhere"), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    }

    #[test]
    fn a_text_gives_values_their_types() {
        let value = |text: &str| {
            let table: toml::Table = format!("v = {text}").parse().expect("TOML");
            let mut tree = Tree::new("x");
            let key = tree.service_key();
            tree.fill(key, table)
                .map(|()| tree.value(key, "V").expect("the value"))
                .map(|value| (value.kind, value.data))
        };
        assert_eq!(value("7").ok(), Some((REG_DWORD, vec![7, 0, 0, 0])));
        assert_eq!(value("-1").ok(), Some((REG_DWORD, vec![255; 4])));
        assert_eq!(value("0x100000000").ok(), Some((REG_QWORD, vec![0, 0, 0, 0, 1, 0, 0, 0])));
        assert_eq!(value("\"a\"").ok(), Some((REG_SZ, vec![97, 0, 0, 0])));
        assert_eq!(value("[\"a\"]").ok(), Some((REG_MULTI_SZ, vec![97, 0, 0, 0, 0, 0])));
        assert_eq!(value("{ type = \"REG_BINARY\", data = \"01 fE\" }").ok(), Some((REG_BINARY, vec![1, 0xFE])));
        assert!(value("1.5").is_err());
        assert!(value("{ type = \"REG_WHAT\", data = 1 }").is_err());
    }
}
