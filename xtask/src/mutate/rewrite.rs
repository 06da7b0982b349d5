//! Switches in the text of the copy: at the start of each tagged function, and where requests reach their object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::coverage::Tag;
use crate::repo::Outcome;

/// The file of the copy that knows which mutant is chosen.
pub const SWITCHES: &str = "crates/ks-abi/src/mutants.rs";

/// Where every request reaches its object: file and function.
pub const REQUESTS: (&str, &str) = ("crates/ks-io/src/file_object.rs", "dispatch");

/// The variable that chooses a mutant.
pub const VARIABLE: &str = "USERKS_MUTANT";

/// What the rewriting found.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// Functions whose type has no way to say "not implemented", and their rows.
    pub no_answer: BTreeMap<String, Vec<String>>,
    pub has_request_switch: bool,
}

/// Values that stand for "nothing" where a function gives no status.
const EMPTY: [&str; 7] = ["Ticks", "Time", "(Ticks, Time)", "(Time, Time)", "KsState", "AccessMask", "KsResolution"];

/// The file with its switches.
pub fn file(
    name: &str,
    text: &str,
    tags: &[&Tag],
    kinds: &BTreeMap<&str, &str>,
    rewritten: &mut Rewritten,
) -> Outcome<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let crate_name = name.split('/').nth(1).unwrap_or_default();
    // Later insertions come first, so that the lines of the others stay where they are.
    let mut inserts: BTreeMap<usize, (Function, Vec<&str>)> = BTreeMap::new();
    for tag in tags.iter().filter(|tag| kinds.get(tag.name.as_str()) == Some(&"function")) {
        let place = || format!("{name}:{}: {}", tag.line, tag.name);
        let function = Function::below(&lines, tag.line).or_else(|| Function::of_type(&lines, tag.line));
        let function = function.ok_or_else(|| {
            format!("{}: the tag of a done function stands above it, above its impl block or its type", place())
        })?;
        inserts.entry(function.body).or_insert_with(|| (function, Vec::new())).1.push(&tag.name);
    }
    if name == REQUESTS.0
        && let Some(line) = lines.iter().position(|line| line.contains(&format!("fn {}(", REQUESTS.1)))
        && let Some(function) = Function::below(&lines, line)
    {
        rewritten.has_request_switch = true;
        let switch = "let mut irp = irp; let __code = irp.io_control_code(); \
            if ks_abi::mutants::request(__code, irp.parts().input) \
            { return irp.done(ks_abi::STATUS_NOT_IMPLEMENTED); }";
        lines[function.body] += switch;
    }
    for (body, (function, names)) in inserts {
        let answer = function.answer(crate_name);
        if answer.starts_with("panic!") {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            rewritten.no_answer.insert(function.name.clone(), names);
        }
        let switch = format!("if ks_abi::mutants::is(&{names:?}) {{ {answer} }}");
        match lines[body].strip_suffix("{}") {
            Some(head) => lines[body] = format!("{head}{{ {switch} }}"),
            None => lines[body] = format!("{} {switch}", lines[body]),
        }
        if let Some(line) = lines.get_mut(function.first) {
            *line = line.replacen("const fn ", "fn ", 1);
        }
    }
    if name == "crates/ks-abi/src/lib.rs" {
        lines.push("pub mod mutants;".to_owned());
    }
    Ok(lines.join("\n") + "\n")
}

/// A function of a file.
#[derive(Debug)]
struct Function {
    name: String,
    /// What it gives back, as it stands there.
    result: String,
    /// Does it take a request by value?
    takes_irp: bool,
    /// Is its body empty, or nothing but a zero? Then it cannot do less.
    does_nothing: bool,
    /// Indices of its first line, and of the line that opens its body.
    first: usize,
    body: usize,
}

impl Function {
    /// The function below a line, with nothing but comments, attributes and the head of an impl block between.
    fn below(lines: &[String], line: usize) -> Option<Function> {
        let is_between = |line: &str| {
            let line = line.trim_start();
            line.is_empty() || line.starts_with("//") || line.starts_with("#[") || line.starts_with("impl")
        };
        let first = (line..lines.len()).find(|index| !is_between(&lines[*index]))?;
        let body = (first..lines.len().min(first + 20))
            .find(|index| lines[*index].ends_with('{') || lines[*index].ends_with("{}"))?;
        let signature = lines[first..=body].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let (_, named) = signature.split_once("fn ")?;
        let name = named.split(|c: char| !c.is_alphanumeric() && c != '_').next()?.to_owned();
        let is_zero = lines.get(body + 1).is_some_and(|line| line.trim() == "0")
            && lines.get(body + 2).is_some_and(|line| line.trim() == "}");
        let does_nothing = signature.ends_with("{}") || is_zero;
        let head = signature.trim_end_matches(['{', '}']).split(" where ").next().unwrap_or_default().trim_end();
        // The arrow of the function itself stands outside of all brackets.
        let mut depth = 0_i32;
        let mut arrow = None;
        for (at, byte) in head.bytes().enumerate() {
            match byte {
                b'>' if head[..at].ends_with('-') && depth == 0 => {
                    arrow = Some(at + 1);
                    break;
                }
                b'>' if head[..at].ends_with('-') => {}
                b'(' | b'[' | b'<' => depth += 1,
                b')' | b']' | b'>' => depth -= 1,
                _ => {}
            }
        }
        let result = arrow.map_or("()", |at| head[at..].trim()).to_owned();
        let takes_irp = head.contains("irp: Irp");
        Some(Function { name, result, takes_irp, does_nothing, first, body })
    }

    /// The first function of the type below a line.
    fn of_type(lines: &[String], line: usize) -> Option<Function> {
        let of = |line: &String| {
            line.split_once("struct ").or_else(|| line.split_once("enum ")).map(|(_, rest)| rest.to_owned())
        };
        let named = lines.get(line..)?.iter().take_while(|line| !line.starts_with("impl")).find_map(of)?;
        let name = named.split(|c: char| !c.is_alphanumeric()).next()?;
        let is_block =
            |line: &String| line.starts_with("impl") && line.contains(&format!(" {name}")) && !line.contains(" for ");
        let block = (line..lines.len()).find(|index| is_block(&lines[*index]))?;
        Function::below(lines, block)
    }

    /// The statement that answers "not implemented", or as little as the type allows.
    fn answer(&self, crate_name: &str) -> String {
        let refusal = |path: &str| {
            format!("{path}Refusal::new(ks_abi::STATUS_NOT_IMPLEMENTED, {path}Aspect::Request, \"a mutant\")")
        };
        let io = if crate_name == "ks-io" { "crate::" } else { "ks_io::" };
        let result = self.result.as_str();
        match result {
            _ if self.does_nothing => format!("panic!(\"{} was called\");", self.name),
            "()" => "return;".to_owned(),
            "bool" => "return false;".to_owned(),
            "NtStatus" | "ks_abi::NtStatus" => "return ks_abi::STATUS_NOT_IMPLEMENTED;".to_owned(),
            "Dispatched" if self.takes_irp => "return irp.done(ks_abi::STATUS_NOT_IMPLEMENTED);".to_owned(),
            "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "return 0;".to_owned(),
            _ if EMPTY.contains(&result) => "return Default::default();".to_owned(),
            _ if result.starts_with("Option<") => "return None;".to_owned(),
            _ if result.starts_with("Result<") && result.ends_with("NtStatus>") => {
                "return Err(ks_abi::STATUS_NOT_IMPLEMENTED);".to_owned()
            }
            _ if result.starts_with("Result<") && result.ends_with("Refusal>") => {
                format!("return Err({});", refusal(io))
            }
            _ if result.starts_with("Result<") && result.ends_with("ClientError>") && crate_name == "ks-client" => {
                "return Err(crate::error::ClientError::own(\"mutate\", \"a mutant\", \
                 ks_abi::STATUS_NOT_IMPLEMENTED, ks_io::Aspect::Request, \"a mutant\".to_owned()));"
                    .to_owned()
            }
            "HResult" | "ks_abi::HResult" => "return ks_abi::HResult::from(ks_abi::STATUS_NOT_IMPLEMENTED);".to_owned(),
            "Win32Error" | "ks_abi::Win32Error" => "return ks_abi::STATUS_NOT_IMPLEMENTED.to_win32();".to_owned(),
            _ => format!("panic!(\"{} answers nothing\");", self.name),
        }
    }
}

/// The module of the copy that the switches ask.
pub fn switches(kinds: &BTreeMap<&str, &str>) -> String {
    let mut codes = String::new();
    for (name, _) in kinds.iter().filter(|(_, kind)| **kind == "ioctl") {
        let code = name.strip_prefix("IOCTL_").unwrap_or(name);
        let _ = writeln!(codes, "        IoControlCode::{code} => \"{name}\",");
    }
    format!(
        r#"//! Which mutant is chosen.
#![allow(missing_docs)]
use crate::{{Guid, IoControlCode, KsIdentifier}};
use std::sync::OnceLock;
use zerocopy::FromBytes;

fn chosen() -> Option<&'static str> {{
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("{VARIABLE}").ok()).as_deref()
}}

pub fn is(names: &[&str]) -> bool {{
    chosen().is_some_and(|chosen| names.contains(&chosen))
}}

pub fn request(code: IoControlCode, input: &[u8]) -> bool {{
    let Some(chosen) = chosen() else {{ return false }};
    let code_name = match code {{
{codes}        _ => "",
    }};
    if code_name == chosen {{
        return true;
    }}
    let Ok((id, _)) = KsIdentifier::read_from_prefix(input) else {{ return false }};
    let name: fn(Guid, u32) -> Option<&'static str> = match code {{
        IoControlCode::KS_PROPERTY => crate::property_name,
        IoControlCode::KS_METHOD => crate::method_name,
        IoControlCode::KS_ENABLE_EVENT => crate::event_name,
        _ => return false,
    }};
    // A row may stand for a whole set, whose items have no names of their own.
    name(id.set, id.id) == Some(chosen) || id.set.name() == Some(chosen)
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::State;

    fn rewritten(text: &str) -> Outcome<String> {
        let tag = Tag {
            file: "crates/a/src/b.rs".to_owned(),
            line: 1,
            name: "KsOne".to_owned(),
            state: State::Done,
            tests: Vec::new(),
            reason: String::new(),
        };
        let kinds = BTreeMap::from([("KsOne", "function")]);
        file("crates/a/src/b.rs", text, &[&tag], &kinds, &mut Rewritten::default())
    }

    #[test]
    fn a_function_answers_by_its_type_before_anything_else() {
        for (signature, answer) in [
            ("pub fn one(a: u32) -> NtStatus {", "return ks_abi::STATUS_NOT_IMPLEMENTED;"),
            ("fn one(\n    a: fn() -> u32,\n) {", "return;"),
            ("unsafe extern \"win64\" fn One(a: Address) -> u64 {", "return 0;"),
            ("fn one<T>(&self) -> Option<Box<dyn Fn() -> T>>\nwhere\n    T: Copy,\n{", "return None;"),
            ("fn one() -> Result<Arc<Gate>, NtStatus> {", "return Err(ks_abi::STATUS_NOT_IMPLEMENTED);"),
            ("fn one(irp: Irp) -> Dispatched {", "return irp.done(ks_abi::STATUS_NOT_IMPLEMENTED);"),
            ("fn one(a: u32) {}\nfn other() {", "panic!(\"one was called\");"),
            ("fn one() -> u8 {\n    0\n}\nfn other() {", "panic!(\"one was called\");"),
            ("fn one() -> Gate {", "panic!(\"one answers nothing\");"),
        ] {
            let text = rewritten(&format!("// tag\n/// What.\n#[inline]\n{signature}\n    body()\n}}")).unwrap();
            assert!(text.contains(&format!("{{ if ks_abi::mutants::is(&[\"KsOne\"]) {{ {answer} }}")), "{text}");
            let before = text.split("if ks_abi").next().unwrap_or_default();
            assert!(!before.contains("body()") && !before.contains("other"), "{text}");
        }
    }

    #[test]
    fn a_tag_stands_above_a_function_an_impl_block_or_a_type() {
        assert!(rewritten("// tag\npub struct One {\n    a: u32,\n}\n").is_err());
        let of_type = "// tag\npub struct One {\n    a: u32,\n}\n\nimpl One {\n    fn new() -> u32 {\n    }\n}\n";
        assert!(rewritten(of_type).unwrap().contains("fn new() -> u32 { if ks_abi"));
        assert!(rewritten("// tag\nimpl Drop for One {\n    fn drop(&mut self) {\n    }\n}\n").is_ok());
    }
}
