//! Links between the documents: they lead somewhere in the repository and on the site of
//! `make docs`, whose pages are those that `docs/README.md` lists.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use test_kit::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &Path) -> String {
    std::fs::read_to_string(root().join(page))
        .unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// The Markdown files below `folder`, relative to the repository.
fn pages_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let files = entries.map(|entry| entry.expect("an entry").file_name());
    files
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "md"))
        .map(|name| Path::new(folder).join(name))
        .collect()
}

/// Where the links of a text lead, of those that are written in Markdown; not what is in code.
fn links(text: &str) -> Vec<String> {
    let without_blocks = text.split("```").step_by(2);
    let mut found = Vec::new();
    for part in without_blocks {
        for (at, _) in part.match_indices("](") {
            let rest = &part[at + 2..];
            let Some(end) = rest.find(')') else { continue };
            found.push(rest[..end].to_owned());
        }
    }
    found
}

/// `page`'s link as a path from the repository's root.
fn target(page: &Path, link: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let folder = page.parent().expect("a page is in a folder");
    for part in folder.join(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {link}", page.display()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// As GitHub and mdBook name the heading of a chapter.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn has_chapter(page: &Path, name: &str) -> bool {
    let text = read(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#')));
    anchors.any(|anchor| anchor == name)
}

#[test]
fn every_link_leads_somewhere() {
    let pages: Vec<PathBuf> = ["", "docs", "docs/decisions", "examples"]
        .iter()
        .flat_map(|folder| pages_in(folder))
        .collect();
    let index = Path::new("docs/README.md");
    let on_the_site: BTreeSet<PathBuf> = links(&read(index))
        .iter()
        .map(|link| target(index, link))
        .collect();
    let mut checked = 0;
    let mut wrong = Vec::new();
    for page in &pages {
        for link in links(&read(page)) {
            if link.contains("://") {
                continue;
            }
            let (file, chapter) = link.split_once('#').unwrap_or((&link, ""));
            let file = if file.is_empty() {
                page.clone()
            } else {
                target(page, file)
            };
            let is_page = file.extension().is_some_and(|end| end == "md");
            let problem = if !root().join(&file).is_file() {
                "there is no such file"
            } else if is_page && !on_the_site.contains(&file) && file != index {
                "docs/README.md does not list that page"
            } else if is_page && !chapter.is_empty() && !has_chapter(&file, chapter) {
                "there is no such chapter"
            } else {
                ""
            };
            if !problem.is_empty() {
                wrong.push(format!("{}: {link}: {problem}", page.display()));
            }
            checked += 1;
        }
        if page != index && !on_the_site.contains(page) {
            wrong.push(format!("docs/README.md does not list {}", page.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "{checked} links");
}

/// Who has only a package has no repository beside it.
#[test]
fn every_link_of_an_installed_document_leads_to_an_installed_file() {
    let release = tempfile::tempdir().expect("a folder");
    let installed = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_tail-containers");
    std::os::unix::fs::symlink(program, release.path().join("tail-containers")).expect("a link");
    std::fs::write(release.path().join("flb-in_container_logs.so"), "").expect("a file");
    let mut install = Command::new(root().join("scripts/install"));
    install
        .env("RELEASE", release.path())
        .env("DESTDIR", installed.path());
    for variable in ["PREFIX", "SYSCONFDIR", "GENERATOR"] {
        install.env_remove(variable);
    }
    run(&mut install).expect("it installs");
    let documents = installed
        .path()
        .join("usr/local/share/doc/fluent-bit-container-logs");
    let mut folders = vec![documents.clone()];
    let (mut checked, mut wrong) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|end| end != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a document");
            for link in links(&text) {
                let file = link.split_once('#').map_or(&*link, |(file, _)| file);
                if file.contains("://") || file.is_empty() {
                    continue;
                }
                checked += 1;
                if !folder.join(file).is_file() {
                    wrong.push(format!("{}: {link}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 60, "{checked} links");
}
