//! What the headers of mingw-w64 say. One C file asks for every number; it is compiled to assembly, which carries them,
//! since nothing here could run it. Items that the headers lack make errors, by line, and are then left out.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::{Facts, Key, What};

const COMPILER: &str = "x86_64-w64-mingw32-gcc";
const HEADERS: &str = "/usr/x86_64-w64-mingw32/include";
const INSTALL: &str = "apt-get install -y --no-install-recommends gcc-mingw-w64-x86-64 mingw-w64-x86-64-dev";

/// The system and media headers. `ntddk.h` comes first: it gates the kernel half.
const SYSTEM_HEADERS: &str = "\
#define INITGUID
#define NOBITMAP
#define TCHAR WCHAR
#include <ntddk.h>
#include <windef.h>
#include <winerror.h>
#include <mmreg.h>
";

/// Shows the names of the streaming headers that Windows Vista dropped.
const OLDER_SYSTEM: &str = "\
#undef NTDDI_VERSION
#define NTDDI_VERSION 0x05010000
";

const STREAMING_HEADERS: &str = "\
#include <ks.h>
#include <ksmedia.h>
#define OUR_GUID_ENTRY(name, a, b, c, d, e, f, g, h, i, j, k) \\
enum { name##_0 = (int)(a), name##_1 = b, name##_2 = c, name##_3 = d, name##_4 = e, name##_5 = f, \\
       name##_6 = g, name##_7 = h, name##_8 = i, name##_9 = j, name##_10 = k };
#define GUID_OF(name) \\
(unsigned)name##_0, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8, name##_9, name##_10
#include <uuids.h>
";

/// Sub-formats that the streaming headers leave to `uuids.h`, where they are called `MEDIASUBTYPE_*`.
const MEDIA_SUBTYPES: &[&str] =
    &["ARGB32", "IYUV", "MJPG", "NV12", "RGB24", "RGB32", "RGB555", "RGB565", "UYVY", "YUY2", "YV12"];

/// The headers' number for each of `ours` that they know.
pub(crate) fn facts(ours: &Facts) -> Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| read(ours)).clone()
}

fn read(ours: &Facts) -> Facts {
    let headers = [SYSTEM_HEADERS, STREAMING_HEADERS].concat();
    let mut facts = answers_of(ours.keys().collect(), &headers);
    let dropped = ours.keys().filter(|key| key.what == What::Guid && !facts.contains_key(key)).collect();
    let headers = [SYSTEM_HEADERS, OLDER_SYSTEM, STREAMING_HEADERS].concat();
    facts.extend(answers_of(dropped, &headers));
    facts
}

fn answers_of(keys: Vec<&Key>, headers: &str) -> Facts {
    let mut unknown = BTreeSet::new();
    // The compiler complains about an unknown name once, so the questions left are asked until it has no complaint.
    loop {
        let more = lines_with_errors(&compile(headers, &keys, &unknown, "-fsyntax-only"));
        if more.is_empty() {
            break;
        }
        let before = unknown.len();
        for &line in &more {
            let key = keys[line];
            unknown.extend(keys.iter().enumerate().filter(|(_, other)| belongs_to(other, key)).map(|(line, _)| line));
        }
        assert!(unknown.len() > before, "the compiler refuses a question that was left out");
    }
    let assembly = compile(headers, &keys, &unknown, "-S");
    assert!(assembly.status.success(), "the headers do not compile:\n{}", String::from_utf8_lossy(&assembly.stderr));
    answers(&keys, &numbers(&String::from_utf8(assembly.stdout).expect("assembly is text")))
}

/// Whether a header that lacks `missing` lacks `other`: the same item, or a member of the structure.
fn belongs_to(other: &Key, missing: &Key) -> bool {
    other == missing
        || matches!(missing.what, What::Size | What::Align)
            && (other.item == missing.item || other.item.split('.').next() == Some(missing.item.as_str()))
}

/// Each answer is the number of its question, then one number or the eleven of a GUID.
fn answers(keys: &[&Key], numbers: &[u64]) -> Facts {
    let mut facts = Facts::new();
    let mut rest = numbers;
    while let [line, answer @ ..] = rest {
        let key = keys[usize::try_from(*line).expect("a line number")];
        let (number, length) = match (key.what, answer) {
            (What::Guid, [data1, data2, data3, data4 @ ..]) => {
                let head = u128::from(*data1) << 32 | u128::from(*data2) << 16 | u128::from(*data3);
                (data4[..8].iter().fold(head, |sum, byte| sum << 8 | u128::from(*byte)), 11)
            }
            (What::Value, [value, ..]) => (u128::from(value & 0xFFFF_FFFF), 1),
            (_, [value, ..]) => (u128::from(*value), 1),
            (_, []) => panic!("no answer to {key:?}"),
        };
        facts.insert(key.clone(), number);
        rest = &answer[length..];
    }
    facts
}

/// Compiles the questions but those of the `left_out` lines.
fn compile(headers: &str, keys: &[&Key], left_out: &BTreeSet<usize>, action: &str) -> Output {
    let mut source = headers.to_owned();
    for subtype in MEDIA_SUBTYPES {
        source.push_str(&format!("#define STATIC_KSDATAFORMAT_SUBTYPE_{subtype} GUID_OF(MEDIASUBTYPE_{subtype})\n"));
    }
    source.push_str("const unsigned long long numbers[] = {\n");
    for (line, key) in keys.iter().enumerate() {
        if left_out.contains(&line) {
            continue;
        }
        let item = &key.item;
        let question = match key.what {
            What::Size => format!("sizeof({item})"),
            What::Align => format!("_Alignof({item})"),
            What::Offset => {
                let (structure, member) = item.split_once('.').expect("a structure and a member");
                format!("__builtin_offsetof({structure}, {member})")
            }
            What::Value => format!("(unsigned long long)({item})"),
            What::Guid => format!("#ifdef STATIC_{item}\n{line}, STATIC_{item},\n#endif"),
        };
        // The compiler then reports the question's own line, counted from 1.
        let question = if key.what == What::Guid { question } else { format!("{line}, {question},") };
        writeln!(source, "#line {} \"question\"\n{question}", line + 1).expect("writing to a string");
    }
    source.push_str("};\n");
    let include = format!("{HEADERS}/ddk");
    let mut child = Command::new(COMPILER)
        .args(["-std=gnu11", "-x", "c", "-w", "-fmax-errors=0", "-fno-diagnostics-show-caret", "-I", &include])
        .args([action, "-o", "-", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{COMPILER}: {error}; install it with:\n  {INSTALL}"));
    // The compiler reads all of its input before it writes much, and it is waited for below.
    child.stdin.take().expect("stdin is piped").write_all(source.as_bytes()).expect("the compiler reads its input");
    let output = child.wait_with_output().expect("the compiler ends");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !message.contains("No such file or directory"),
        "{message}\nheaders are missing; install them with:\n  {INSTALL}"
    );
    output
}

/// Which questions the compiler could not answer.
fn lines_with_errors(output: &Output) -> BTreeSet<usize> {
    let message = String::from_utf8_lossy(&output.stderr);
    let mut lines = BTreeSet::new();
    for error in message.lines().filter(|line| line.contains(": error: ")) {
        let line = error.strip_prefix("question:").and_then(|rest| rest.split(':').next());
        let number: Option<usize> = line.and_then(|digits| digits.parse().ok());
        lines.insert(number.unwrap_or_else(|| panic!("an error in the headers themselves: {error}")) - 1);
    }
    lines
}

/// The numbers of the array in the assembly.
fn numbers(assembly: &str) -> Vec<u64> {
    let mut numbers = Vec::new();
    let directives = assembly.lines().skip_while(|line| line.trim() != "numbers:").skip(1);
    for line in directives {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(".quad"), Some(number)) => {
                let number: i128 = number.parse().expect("a number");
                numbers.push(number as u64);
            }
            (Some(".space"), Some(bytes)) => {
                let bytes: usize = bytes.parse().expect("a number of bytes");
                numbers.extend(std::iter::repeat_n(0, bytes / 8));
            }
            _ => break,
        }
    }
    numbers
}
