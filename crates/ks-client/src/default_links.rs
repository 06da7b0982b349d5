//! Names that stand for a configured filter: `\\.\filters\audio\default renderer` is a link to the filter that its user
//! has set for the output of audio.
//!
//! The links of a user stand in a small TOML file, `userks/defaults.toml` below `$XDG_CONFIG_HOME` (`~/.config`):
//!
//! ```toml
//! [links]
//! audio-renderer = "wav-writer"
//! ```
//!
//! Source: "KS Pins".

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes that the file may have.
const MOST_FILE_BYTES: u64 = 64 * 1024;
/// The most bytes that the name of a filter may have.
const MOST_NAME_BYTES: usize = 1024;
/// The table of the file that the links stand in.
const TABLE: &str = "links";

/// What a link stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DefaultLink {
    /// Where audio goes that names no device.
    AudioRenderer,
}

impl DefaultLink {
    /// Every link that there is.
    pub const ALL: [DefaultLink; 1] = [DefaultLink::AudioRenderer];

    /// Its word in the file and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            DefaultLink::AudioRenderer => "audio-renderer",
        }
    }

    /// The name that a client opens.
    pub fn name(self) -> &'static str {
        match self {
            DefaultLink::AudioRenderer => r"\\.\filters\audio\default renderer",
        }
    }

    /// The link of this name, in any case; `\\?\` may stand for `\\.\`.
    pub fn named(name: &str) -> Option<DefaultLink> {
        let tail = name.strip_prefix(r"\\.\").or_else(|| name.strip_prefix(r"\\?\"))?;
        Self::ALL.into_iter().find(|link| link.name()[4..].eq_ignore_ascii_case(tail))
    }
}

/// The file of a user's links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultLinks {
    path: PathBuf,
}

/// The file of the links could not be used.
#[derive(Debug)]
pub struct DefaultLinksError {
    /// What was being done: `read`, `write`.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it did not work.
    pub why: String,
}

impl fmt::Display for DefaultLinksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} {}: {}", self.doing, self.path.display(), self.why)
    }
}

impl std::error::Error for DefaultLinksError {}

impl DefaultLinks {
    /// The links of the user that the environment speaks of; `None` when it has neither XDG_CONFIG_HOME nor HOME. As the
    /// base directory specification says, a path that is not absolute counts as none.
    pub fn of_user() -> Option<DefaultLinks> {
        let directory = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")))?;
        Some(DefaultLinks::at(config.join("userks").join("defaults.toml")))
    }

    /// The links in this file, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> DefaultLinks {
        DefaultLinks { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the filter that a link leads to; `None`: it is not set.
    pub fn get(&self, link: DefaultLink) -> Result<Option<String>, DefaultLinksError> {
        let table = self.read()?;
        match table.get(TABLE).and_then(|links| links.get(link.word())) {
            None => Ok(None),
            Some(toml::Value::String(name)) if is_name(name) => Ok(Some(name.clone())),
            Some(_) => Err(self.error("read", format!("{TABLE}.{} is no name of a filter", link.word()))),
        }
    }

    /// Leads a link to a filter; `None`: to nothing. What else the file has is kept. The file is replaced as a whole, so
    /// that a reader sees the old one or the new one.
    pub fn set(&self, link: DefaultLink, filter: Option<&str>) -> Result<(), DefaultLinksError> {
        let mut table = self.read()?;
        let links = table.entry(TABLE).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(links) = links.as_table_mut() else {
            return Err(self.error("write", format!("`{TABLE}` in it is no table")));
        };
        match filter {
            Some(name) if is_name(name) => _ = links.insert(link.word().to_owned(), name.into()),
            Some(_) => return Err(self.error("write", "a filter's name has 1 to 1024 bytes and no control character")),
            None if links.remove(link.word()).is_none() => return Ok(()),
            None => {}
        }
        let text = toml::to_string(&table).map_err(|error| self.error("write", error.to_string()))?;
        self.replace(&text).map_err(|error| self.error("write", error.to_string()))
    }

    fn error(&self, doing: &'static str, why: impl Into<String>) -> DefaultLinksError {
        DefaultLinksError { doing, path: self.path.clone(), why: why.into() }
    }

    fn read(&self) -> Result<toml::Table, DefaultLinksError> {
        let failed = |error: io::Error| self.error("read", error.to_string());
        let mut text = String::new();
        match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(toml::Table::new()),
            Err(error) => return Err(failed(error)),
            Ok(file) => {
                if !file.metadata().map_err(failed)?.is_file() {
                    return Err(self.error("read", "it is no plain file"));
                }
                let read = file.take(MOST_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
                if read as u64 > MOST_FILE_BYTES {
                    return Err(self.error("read", format!("it has more than {MOST_FILE_BYTES} bytes")));
                }
            }
        }
        text.parse().map_err(|error: toml::de::Error| self.error("read", error.message().to_owned()))
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        // Beside the file, so that the rename stays on one file system; no two writers share it.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fresh = directory.join(format!(".defaults.toml.{}.{number}", std::process::id()));
        let written = (|| {
            let mut file = File::create(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        })();
        if written.is_err() {
            _ = fs::remove_file(&fresh);
        }
        written
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MOST_NAME_BYTES && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for one test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("ks-links-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }
        fn links(&self) -> DefaultLinks {
            DefaultLinks::at(self.0.join("deep").join("defaults.toml"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    const LINK: DefaultLink = DefaultLink::AudioRenderer;

    #[test]
    fn a_link_is_known_by_its_name_in_any_case() {
        for name in [LINK.name(), r"\\.\FILTERS\Audio\Default Renderer", r"\\?\filters\audio\default renderer"] {
            assert_eq!(DefaultLink::named(name), Some(LINK), "{name}");
        }
        for name in
            ["", r"\\.\", r"\\.\filters\audio\default", r"filters\audio\default renderer", "wav-writer", r"\\.\é"]
        {
            assert_eq!(DefaultLink::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_link_is_set_read_replaced_and_cleared() {
        let scratch = Scratch::new("set");
        let links = scratch.links();
        assert_eq!(links.get(LINK).unwrap(), None, "no file yet");
        links.set(LINK, None).unwrap();
        assert!(!links.path().exists(), "nothing to clear makes no file");
        links.set(LINK, Some("a \"quoted\" name")).unwrap();
        assert_eq!(links.get(LINK).unwrap().as_deref(), Some("a \"quoted\" name"));
        links.set(LINK, Some("wav-writer")).unwrap();
        assert_eq!(fs::read_to_string(links.path()).unwrap(), "[links]\naudio-renderer = \"wav-writer\"\n");
        links.set(LINK, None).unwrap();
        assert_eq!(links.get(LINK).unwrap(), None);
        let left: Vec<_> = fs::read_dir(links.path().parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no file of a write stays behind");
    }

    #[test]
    fn what_else_the_file_has_is_kept() {
        let scratch = Scratch::new("kept");
        let links = scratch.links();
        fs::create_dir_all(links.path().parent().unwrap()).unwrap();
        fs::write(links.path(), "later = 1\n[links]\naudio-capture = \"x\"\n").unwrap();
        links.set(LINK, Some("y")).unwrap();
        let text = fs::read_to_string(links.path()).unwrap();
        assert!(text.contains("later = 1") && text.contains("audio-capture = \"x\""), "{text}");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_an_error_and_is_not_overwritten() {
        let scratch = Scratch::new("broken");
        let links = scratch.links();
        fs::create_dir_all(links.path().parent().unwrap()).unwrap();
        let long = "#".repeat(MOST_FILE_BYTES as usize + 1);
        for text in
            ["[links", "links = 3\n", "[links]\naudio-renderer = 7\n", "[links]\naudio-renderer = \"\"\n", &long]
        {
            fs::write(links.path(), text).unwrap();
            let read = links.get(LINK);
            let written = links.set(LINK, Some("x"));
            let wrong_value = text.contains("renderer");
            assert!(read.is_err() || text == "links = 3\n", "{read:?}");
            assert!(written.is_err() || wrong_value, "a wrong value is what a set replaces");
            if !wrong_value {
                assert_eq!(fs::read_to_string(links.path()).unwrap(), *text);
            }
        }
        for name in ["", "a\nb", &"x".repeat(MOST_NAME_BYTES + 1)] {
            assert!(links.set(LINK, Some(name)).is_err());
        }
        fs::remove_file(links.path()).unwrap();
        fs::create_dir(links.path()).unwrap();
        assert!(links.get(LINK).unwrap_err().to_string().contains("no plain file"));
    }

    #[test]
    fn a_reader_sees_the_old_file_or_the_new_one() {
        let scratch = Scratch::new("atomic");
        let links = scratch.links();
        let names = ["short".to_owned(), "x".repeat(1000)];
        links.set(LINK, Some(&names[0])).unwrap();
        let reader = links.clone();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for turn in 0..50 {
                    links.set(LINK, Some(&names[turn % 2])).unwrap();
                }
            });
            while !writer.is_finished() {
                let name = reader.get(LINK).unwrap().expect("it is set all the time");
                assert!(names.contains(&name), "{name}");
            }
        });
    }
}
