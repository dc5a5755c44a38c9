//! Whatever we are built of may be shipped under our licence: each package that
//! cargo resolves, against the list in deny.toml.

use std::process::Command;

use test_kit::run;

fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml"))
        .expect("deny.toml");
    let list = text
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("a list");
    let names = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    names.map(str::to_owned).collect()
}

/// Whether one of the choices that an SPDX expression leaves is allowed. `OR` binds
/// less than `AND`; old packages write a slash for `OR`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut words = expression.replace('(', " ( ").replace(')', " ) ");
    words = words.replace(" WITH ", "+WITH+");
    let words: Vec<String> = words
        .split_whitespace()
        .map(|word| word.replace("+WITH+", " WITH "))
        .collect();
    let mut rest = words.iter().map(String::as_str).peekable();
    let holds = any_of(&mut rest, allowed);
    assert_eq!(rest.next(), None, "{expression}");
    holds
}

fn any_of<'w>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    allowed: &[String],
) -> bool {
    let mut holds = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        holds |= all_of(words, allowed);
    }
    holds
}

fn all_of<'w>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    allowed: &[String],
) -> bool {
    let mut holds = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        holds &= one(words, allowed);
    }
    holds
}

fn one<'w>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'w str>>,
    allowed: &[String],
) -> bool {
    match words.next() {
        Some("(") => {
            let holds = any_of(words, allowed);
            assert_eq!(words.next(), Some(")"));
            holds
        }
        Some(name) => allowed.iter().any(|licence| licence == name),
        None => false,
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    assert!(allowed.len() > 5, "{allowed:?}");
    let mut metadata = Command::new(env!("CARGO"));
    // Not `--offline`: called by itself on a new machine it fetches the packages of the
    // fuzz targets, which no build of the library has asked for. `make test` has them.
    metadata.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
    ]);
    metadata.arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    let metadata = run(metadata.current_dir(env!("CARGO_MANIFEST_DIR"))).expect("cargo metadata");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let others: Vec<_> = packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .collect();
    assert!(others.len() > 50, "{}", others.len());
    for package in others {
        let (name, licence) = (
            &package["name"],
            package["license"].as_str().unwrap_or_default(),
        );
        assert!(
            is_allowed(licence, &allowed),
            "{name}: {licence:?} is not in deny.toml"
        );
        let source = package["source"].as_str().expect("a source");
        assert!(
            source.starts_with("registry+"),
            "{name} comes from {source}"
        );
    }
}

#[test]
fn an_expression_is_read_as_spdx_has_it() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, holds) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT OR ISC AND GPL-3.0", true),
        ("(MIT OR ISC) AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", true),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), holds, "{expression}");
    }
}
