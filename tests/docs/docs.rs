//! What the documents say must be what the code does. `UPDATE_DOCS=1` writes
//! the generated parts instead of comparing them.

use std::path::{Path, PathBuf};
use std::process::Command;

use fluent_bit_container_logs::config::options::{Kind, OptionSpec, OPTIONS};
use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::telemetry::metrics;
use fluent_bit_container_logs::telemetry::metrics::all_families;

/// A document, or a part of one, that is made of the table of options.
struct Generated {
    file: &'static str,
    /// Where the part begins and ends; nothing where it is the whole file.
    marks: Option<(&'static str, &'static str)>,
    text: fn() -> String,
}

const GENERATED: [Generated; 5] = [
    Generated {
        file: "README.md",
        marks: Some((
            "<!-- runtimes: generated from docs/runtimes.json -->\n",
            "<!-- end of runtimes -->\n",
        )),
        text: runtime_table,
    },
    Generated {
        file: "docs/options.md",
        marks: None,
        text: option_pages,
    },
    Generated {
        file: "docs/metrics.md",
        marks: Some((
            "<!-- metrics: generated from src/telemetry/metrics/families.rs -->\n",
            "<!-- end of metrics -->\n",
        )),
        text: metric_table,
    },
    Generated {
        file: "fluent-bit.conf.example",
        marks: Some(("    # All options, with their defaults:\n", "\n[OUTPUT]\n")),
        text: classic_options,
    },
    Generated {
        file: "fluent-bit.yaml.example",
        marks: Some((
            "      # All options, with their defaults:\n",
            "\n  outputs:\n",
        )),
        text: yaml_options,
    },
];

fn read(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn kind(option: &OptionSpec) -> &'static str {
    match option.kind {
        Kind::Text => "text",
        Kind::Texts => "text, or list",
        Kind::List => "list",
        Kind::Bool => "on, off",
        Kind::Number => "number",
        Kind::Size => "size",
        Kind::Time => "time",
    }
}

/// Of the results of `make test-runtimes`.
fn runtime_table() -> String {
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&read("docs/runtimes.json")).expect("a list of results");
    let mut table = String::from(
        "\n| runtime | version | on Debian | log driver | file | journal | API | metadata | tested |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let keys = row["metadata"].as_array().expect("keys");
        let keys: Vec<&str> = keys.iter().filter_map(|key| key.as_str()).collect();
        let text = |key: &str| row[key].as_str().expect("a text").to_owned();
        let cells = [
            "runtime", "version", "release", "driver", "file", "journal", "api",
        ];
        let cells = cells.map(text);
        let (keys, date) = (keys.join(", "), text("date"));
        table.push_str(&format!("| {} | {keys} | {date} |\n", cells.join(" | ")));
    }
    table.push('\n');
    table
}

fn metric_table() -> String {
    let mut table = String::from("\n| metric | kind | labels | |\n|---|---|---|---|\n");
    for family in all_families() {
        let kind = match family.kind {
            metrics::Kind::Counter => "counter",
            metrics::Kind::Gauge => "gauge",
            metrics::Kind::Histogram(_) => "histogram",
        };
        let labels = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>()
            .join(" ");
        table.push_str(&format!(
            "| `{}` | {kind} | {labels} | {} |\n",
            family.name, family.help
        ));
    }
    table.push('\n');
    table
}

fn option_pages() -> String {
    let mut text = String::from(
        "# Options\n\n\
         Generated from `src/config/options.rs`. `fluent-bit -e …/flb-in_container_logs.so -i container_logs -h` says the same.\n\n\
         Values are written as everywhere in Fluent Bit: a size is `512k`, `8M` or `1G` (powers of 1000); a\n\
         time is `2s`, `1m`, `1h`, `1d` or, in addition to Fluent Bit, `500ms`; a boolean is `on`, `yes` or\n\
         `true`, or `off`, `no` or `false`. The values of a list are separated by commas, and its option may\n\
         be given more than once; in YAML write a list. Option names are case-insensitive.\n",
    );
    for option in OPTIONS {
        let default = option
            .default()
            .map_or("none".to_owned(), |default| format!("`{default}`"));
        let example = if option.default().is_none() {
            format!(" Example: `{} {}`.", option.name, option.example())
        } else {
            String::new()
        };
        text.push_str(&format!(
            "\n## {}\n\nValue: {}. Default: {default}.{example}\n\n{}\n",
            option.name,
            kind(option),
            option.text.replace('<', "\\<")
        ));
    }
    text
}

/// `text` in lines of up to `width` characters, each behind `before`.
fn wrapped(text: &str, before: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("a line");
        if !line.is_empty()
            && before.len() + line.chars().count() + 1 + word.chars().count() > width
        {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
        .iter()
        .map(|line| format!("{before}{line}\n"))
        .collect()
}

fn classic_options() -> String {
    let options = OPTIONS.iter().map(|option| {
        let text = wrapped(option.text, "    # ", 90);
        format!("    #\n{text}    #{} {}\n", option.name, option.example())
    });
    options.collect()
}

fn yaml_options() -> String {
    let options = OPTIONS.iter().map(|option| {
        let text = wrapped(option.text, "      # ", 90);
        let name = option.name.to_ascii_lowercase();
        let value = if option.kind == Kind::List {
            format!("      #{name}:\n      #  - {}\n", option.example())
        } else {
            format!("      #{name}: {}\n", option.example())
        };
        format!("      #\n{text}{value}")
    });
    options.collect()
}

#[test]
fn what_is_generated_is_as_the_code_has_it() {
    for Generated { file, marks, text } in &GENERATED {
        let is_update = std::env::var_os("UPDATE_DOCS").is_some();
        let old = if is_update {
            std::fs::read_to_string(path(file)).unwrap_or_default()
        } else {
            read(file)
        };
        let new = match marks {
            None => text(),
            Some((begin, end)) => {
                let begin = old
                    .find(begin)
                    .unwrap_or_else(|| panic!("{file} has no {begin}"))
                    + begin.len();
                let end = begin
                    + old[begin..]
                        .find(end)
                        .unwrap_or_else(|| panic!("{file} has no {end}"));
                format!("{}{}{}", &old[..begin], text(), &old[end..])
            }
        };
        if is_update {
            std::fs::write(path(file), new).unwrap_or_else(|error| panic!("{file}: {error}"));
        } else {
            assert!(
                old == new,
                "{file} has drifted: run the tests once with UPDATE_DOCS=1"
            );
        }
    }
}

/// Every option with its example, and with what the examples set.
#[test]
fn what_the_documents_show_is_accepted() {
    Config::from_lookup(|name| {
        let option = OPTIONS
            .iter()
            .find(|option| option.name == name)
            .expect("an option");
        assert!(
            !option.example().is_empty(),
            "{name} has neither a default nor an example"
        );
        Some(option.example().to_owned())
    })
    .expect("every example is valid");
    for file in ["fluent-bit.conf.example", "fluent-bit.yaml.example"] {
        let set: Vec<(String, String)> = read(file)
            .lines()
            .filter_map(|line| {
                let line = line.trim().trim_start_matches("- ");
                let (name, value) = line.split_once([' ', ':'])?;
                let option = OPTIONS
                    .iter()
                    .find(|option| option.name.eq_ignore_ascii_case(name))?;
                Some((option.name.to_owned(), value.trim().to_owned()))
            })
            .collect();
        assert!(!set.is_empty(), "{file} sets nothing");
        Config::from_lookup(|name| {
            set.iter()
                .find(|(option, _)| option == name)
                .map(|(_, value)| value.clone())
        })
        .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn the_readme_names_the_commands_that_there_are() {
    let readme = read("README.md");
    let makefile = read("Makefile");
    for target in ["demo", "test", "bench"] {
        assert!(
            readme.contains(&format!("make {target}")),
            "README.md has no make {target}"
        );
        assert!(
            makefile.contains(&format!("\n{target}:")),
            "the Makefile has no {target}"
        );
    }
}

#[test]
fn tail_containers_documents_every_switch() {
    let help = Command::new(env!("CARGO_BIN_EXE_tail-containers"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for switch in [
        "--runtime",
        "--pod-logs",
        "--docker-root",
        "--podman-root",
        "--json",
        "--follow",
        "--no-follow",
        "--tail",
        "--timestamps",
        "--until",
        "--grep",
        "--highlight",
        "--raw",
        "--new",
        "--include",
        "--exclude",
        "--since",
        "--color",
        "--option",
        "--help",
        "--version",
    ] {
        let is_head = |line: &&str| line.trim().starts_with('-') && line.contains(switch);
        let mut lines = help.lines().skip_while(|line| !is_head(line));
        assert!(lines.next().is_some(), "{switch} is not in the help");
        let described = lines.next().is_some_and(|line| line.trim().contains(' '));
        assert!(described, "{switch} has no description");
    }
}

/// All source texts with what is filled in, and what differs, as `…`.
fn messages_of_the_source() -> String {
    let mut text = String::new();
    let mut folders = vec![path("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                text.push_str(&std::fs::read_to_string(entry.path()).expect("a source file"));
            }
        }
    }
    with_ellipses(&text)
}

/// Braces without braces in them become `…`.
fn with_ellipses(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        kept.push_str(before);
        match behind[1..].find(['{', '}', '\n']) {
            Some(end) if behind[1 + end..].starts_with('}') => {
                kept.push('…');
                rest = &behind[end + 2..];
            }
            _ => {
                kept.push('{');
                rest = &behind[1..];
            }
        }
    }
    kept + rest
}

#[test]
fn troubleshooting_quotes_messages_that_there_are() {
    let page = read("docs/troubleshooting.md");
    let source = messages_of_the_source();
    let quoted: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .collect();
    assert!(quoted.len() > 20, "{quoted:?}");
    for message in quoted {
        // The end of a long text may be left out.
        let begin = message
            .strip_suffix(": …")
            .filter(|begin| begin.contains("not supported"))
            .unwrap_or(message);
        assert!(
            source.contains(&format!("\"{begin}")),
            "not in the source: {message}"
        );
    }
}

#[test]
fn troubleshooting_has_every_warning_and_error() {
    let page = read("docs/troubleshooting.md");
    let events = |source: &str, levels: &str, name: &str| {
        let levels = read(levels);
        let levels = levels
            .split("pub fn level(")
            .nth(1)
            .and_then(|rest| rest.split("=> Level::Warn").next())
            .expect("the errors and warnings");
        let source = read(source);
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let mut count = 0;
        for pair in lines.windows(2) {
            let Some(text) = pair[0].strip_prefix("#[error(\"") else {
                continue;
            };
            let text = text.split(['"']).next().expect("a text");
            let variant = pair[1].split([' ', ',']).next().expect("a variant");
            let is_grave = levels
                .split(|c: char| !c.is_alphanumeric() && c != ':')
                .any(|word| word == format!("{name}::{variant}"));
            if is_grave {
                count += 1;
                let quoted = format!("> {}\n", with_ellipses(text));
                assert!(
                    page.contains(&quoted),
                    "docs/troubleshooting.md lacks: {quoted}"
                );
            }
        }
        count
    };
    let all = events("src/telemetry/event.rs", "src/telemetry/level.rs", "Event");
    assert!(all > 10, "{all}");
    let deleted = "src/telemetry/event/deleted.rs";
    let deleted = events(deleted, deleted, "DeletedEvent");
    assert!(deleted > 3, "{deleted}");
    let journal = "src/telemetry/event/journal.rs";
    let journals = events(journal, journal, "JournalEvent");
    assert!(journals > 1, "{journals}");
}

/// Asserts that each statement of a document names a test, and that the tests exist; how
/// many were named. `body` begins behind the heading of a chapter.
fn tests_named_behind_each_statement(file: &str, body: &str) -> usize {
    let blocks = body.split("\n\n").flat_map(|block| {
        let is_list = block.starts_with("- ");
        let is_table = block.starts_with("| ");
        let by = if is_list { "\n- " } else { "\n| " };
        let parts: Vec<&str> = if is_list || is_table {
            block.split(by).collect()
        } else {
            vec![block]
        };
        // The head of a table claims nothing.
        parts
            .into_iter()
            .skip(usize::from(is_table))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let mut named = 0;
    for block in blocks.filter(|block| !block.starts_with("## ") && block.contains(' ')) {
        let is_heading = !block.contains('.') && !block.contains('`');
        let tests: Vec<&str> = block
            .split('`')
            .filter(|word| word.contains("::"))
            .collect();
        assert!(
            is_heading || !tests.is_empty(),
            "{file}: no test stands behind: {block}"
        );
        for test in tests {
            let (module, name) = test.split_once("::").expect("module::test");
            let is_there =
                test_sources(module).any(|source| source.contains(&format!("fn {name}()")));
            assert!(is_there, "{file} names {test}, which does not exist");
            named += 1;
        }
    }
    named
}

#[test]
fn every_guarantee_names_tests_and_every_test_it_names_exists() {
    let text = read("docs/guarantees.md");
    let (_, body) = text.split_once("\n## ").expect("the first chapter");
    let named = tests_named_behind_each_statement("docs/guarantees.md", body);
    assert!(named > 20, "{named}");
}

#[test]
fn every_sentence_of_the_threat_model_names_tests_and_every_test_it_names_exists() {
    let text = read("docs/threat-model.md");
    let (_, body) = text
        .split_once("\n## Memory\n")
        .expect("the first chapter of statements");
    let (body, _) = body
        .split_once("\n## What remains\n")
        .expect("the chapter of known limits");
    let named = tests_named_behind_each_statement("docs/threat-model.md", body);
    assert!(named > 60, "{named}");
}

#[test]
fn every_right_names_tests_that_there_are() {
    let text = read("docs/least-privilege.md");
    let tests: Vec<(&str, &str)> = text
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .collect();
    let is_written = |(module, name): &&(&str, &str)| {
        !module.contains(' ') && *module != "module" && !name.is_empty()
    };
    let tests: Vec<_> = tests.iter().filter(is_written).collect();
    for (module, name) in &tests {
        let is_there = test_sources(module).any(|source| source.contains(&format!("fn {name}()")));
        assert!(
            is_there,
            "docs/least-privilege.md names {module}::{name}, which does not exist"
        );
    }
    let blocks = text
        .split("\n## ")
        .skip(1)
        .flat_map(|chapter| chapter.split("\n- ").skip(1));
    for block in blocks {
        assert!(block.contains("::"), "no test stands behind: {block}");
    }
    assert!(tests.len() > 15, "{}", tests.len());
}

/// The files in which the tests of a module may be.
fn test_sources(module: &str) -> impl Iterator<Item = String> {
    let ends = [
        format!("/{module}.rs"),
        format!("/{module}/mod.rs"),
        format!("/{module}/tests.rs"),
    ];
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        add_files(&path(folder), &mut files);
    }
    files.retain(|file| {
        ends.iter()
            .any(|end| file.display().to_string().ends_with(end))
    });
    files
        .into_iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
}

fn add_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => add_files(&entry, files),
            false => files.push(entry),
        }
    }
}
