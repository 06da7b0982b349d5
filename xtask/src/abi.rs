//! `abi`: the layouts of every structure of ks-abi, under the names of the Windows headers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use ks_abi::Layout;
use serde_json::{Value, json};

/// `cargo xtask abi [--json]`: a readable table, or a list of `{name, size, align, fields: [{name, offset}]}`.
pub fn run(arguments: &[String]) -> ExitCode {
    let text = match arguments {
        [] => table(&ks_abi::layouts()),
        [flag] if flag == "--json" => format!("{:#}\n", document(&ks_abi::layouts())),
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

fn document(layouts: &[Layout]) -> Value {
    let structures = layouts.iter().map(|layout| {
        let fields = layout.fields.iter().map(|field| json!({ "name": field.name, "offset": field.offset }));
        json!({
            "name": layout.name,
            "size": layout.size,
            "align": layout.align,
            "fields": fields.collect::<Vec<_>>(),
        })
    });
    Value::Array(structures.collect())
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
        let document = document(&ks_abi::layouts());
        let connect = document
            .as_array()
            .expect("a list")
            .iter()
            .find(|structure| structure["name"] == "KSPIN_CONNECT")
            .expect("KSPIN_CONNECT is listed");
        assert_eq!(connect["size"], 72);
        assert_eq!(connect["align"], 8);
        assert_eq!(connect["fields"][3], json!({ "name": "PinToHandle", "offset": 56 }));
    }

    #[test]
    fn the_table_shows_the_same() {
        assert!(table(&ks_abi::layouts()).contains("KSPIN_CONNECT: 72 bytes, aligned to 8\n     0  Interface\n"));
    }
}
