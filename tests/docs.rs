//! What the documents say must be what the code does. `UPDATE_DOCS=1` writes
//! the generated parts instead of comparing them.

use std::path::PathBuf;
use std::process::Command;

use fluent_bit_container_logs::config::options::{Kind, OPTIONS};
use fluent_bit_container_logs::config::Config;

const BEGIN: &str = "<!-- options: generated from src/config/options.rs -->\n";
const END: &str = "<!-- end of options -->\n";

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn option_table() -> String {
    let mut table = String::from("| option | value | default | |\n|---|---|---|---|\n");
    for option in OPTIONS {
        let kind = match option.kind {
            Kind::Text => "text",
            Kind::List => "list",
            Kind::Bool => "on, off",
            Kind::Size => "size",
            Kind::Time => "time",
        };
        let default = option.default.map_or(String::new(), |default| format!("`{default}`"));
        table.push_str(&format!("| `{}` | {kind} | {default} | {} |\n", option.name, option.text));
    }
    table
}

#[test]
fn the_readme_lists_every_option_as_the_code_has_it() {
    let readme = read("README.md");
    let begin = readme.find(BEGIN).expect("the begin mark") + BEGIN.len();
    let end = readme.find(END).expect("the end mark");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = format!("{}\n{}\n{}", &readme[..begin], option_table(), &readme[end..]);
        std::fs::write(path("README.md"), updated).expect("README.md can be written");
    } else {
        assert_eq!(readme[begin..end].trim(), option_table().trim(), "run the tests once with UPDATE_DOCS=1");
    }
}

#[test]
fn the_example_uses_options_that_exist_and_that_pass() {
    let example = read("fluent-bit.conf.example");
    let input = example.split("[INPUT]").nth(1).expect("an input").split('[').next().expect("its lines");
    let mut given = Vec::new();
    for line in input.lines().map(|line| line.trim().trim_start_matches('#').trim()) {
        let Some((name, value)) = line.split_once(char::is_whitespace) else { continue };
        let is_core = ["Name", "Tag"].contains(&name);
        let is_option = OPTIONS.iter().any(|option| option.name == name);
        // A comment is prose unless it begins with an option.
        if is_option {
            given.push((name.to_owned(), value.trim().to_owned()));
        } else {
            assert!(
                is_core
                    || line.ends_with('.')
                    || !name.starts_with(char::is_uppercase)
                    || value.contains(' '),
                "{line}"
            );
        }
    }
    assert!(given.len() >= 3, "{given:?}");
    Config::from_lookup(|name| {
        given.iter().find(|(option, _)| option == name).map(|(_, value)| value.clone())
    })
    .expect("the example's values are valid");
}

#[test]
fn the_readme_names_the_commands_that_there_are() {
    let readme = read("README.md");
    let makefile = read("Makefile");
    for target in ["demo", "test", "bench"] {
        assert!(readme.contains(&format!("make {target}")), "README.md has no make {target}");
        assert!(makefile.contains(&format!("\n{target}:")), "the Makefile has no {target}");
    }
}

#[test]
fn tail_containers_documents_every_switch() {
    let help = Command::new(env!("CARGO_BIN_EXE_tail-containers")).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for switch in
        ["--docker-root", "--json", "--no-follow", "--new", "--color", "--option", "--help", "--version"]
    {
        let at = help.find(switch).unwrap_or_else(|| panic!("{switch} is not in the help"));
        let described = help[at..].lines().skip(1).take(1).any(|line| line.trim().contains(' '));
        assert!(described, "{switch} has no description");
    }
}
