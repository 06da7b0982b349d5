//! `abi`: the layouts of every structure of ks-abi, under the names of the Windows headers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use ks_abi::Layout;
use serde::Serialize;

/// One structure of the document; the order of the members is that of the output.
#[derive(Serialize)]
struct Structure {
    name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    name: &'static str,
    offset: usize,
}

/// `cargo xtask abi [--json]`: a readable table, or a list of `{name, size, align, fields: [{name, offset}]}`.
pub fn run(arguments: &[String]) -> ExitCode {
    let text = match arguments {
        [] => table(&ks_abi::layouts()),
        [flag] if flag == "--json" => match serde_json::to_string_pretty(&document(&ks_abi::layouts())) {
            Ok(json) => json + "\n",
            Err(error) => {
                eprintln!("xtask abi: {error}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("usage: cargo xtask abi [--json]");
            return ExitCode::from(2);
        }
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough, as with `| head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask abi: cannot write the layouts: {error}");
            ExitCode::FAILURE
        }
    }
}

fn document(layouts: &[Layout]) -> Vec<Structure> {
    let structure = |layout: &Layout| Structure {
        name: layout.name,
        size: layout.size,
        align: layout.align,
        fields: layout.fields.iter().map(|field| Member { name: field.name, offset: field.offset }).collect(),
    };
    layouts.iter().map(structure).collect()
}

fn table(layouts: &[Layout]) -> String {
    let mut text = String::new();
    for layout in layouts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {} bytes, aligned to {}", layout.name, layout.size, layout.align);
        for field in &layout.fields {
            let _ = writeln!(text, "{:>6}  {}", field.offset, field.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_structures_and_members_as_the_headers_do() {
        let json = serde_json::to_value(document(&ks_abi::layouts())).unwrap();
        let connect = json
            .as_array()
            .unwrap()
            .iter()
            .find(|structure| structure["name"] == "KSPIN_CONNECT")
            .expect("KSPIN_CONNECT is listed");
        assert_eq!(connect["size"], 72);
        assert_eq!(connect["align"], 8);
        assert_eq!(connect["fields"][3], serde_json::json!({ "name": "PinToHandle", "offset": 56 }));
    }

    #[test]
    fn the_table_shows_the_same() {
        assert!(table(&ks_abi::layouts()).contains("KSPIN_CONNECT: 72 bytes, aligned to 8\n     0  Interface\n"));
    }
}
