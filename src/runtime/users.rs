//! The users whose storages are read: which are selected (`Podman_Users` and the like) and which
//! exist (`/etc/passwd`). Users that are not in that file, such as those of a directory service,
//! are selected by their home directories. Pure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::runtime::globs::Globs;

/// `Podman_Users` and the like: selects no user by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChoice {
    texts: Vec<String>,
    globs: Globs,
    homes: Vec<Homes>,
}

/// Home directories selected by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Homes {
    /// This one.
    One(PathBuf),
    /// Those in this folder whose names match.
    Matching(PathBuf, Globs),
}

impl Homes {
    fn parse(text: &str) -> Result<Homes, String> {
        let path = PathBuf::from(text.trim_end_matches('/'));
        let has_glob = |part: &OsStr| part.to_str().is_some_and(is_glob);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(format!("`{text}` is not a home directory"));
        };
        if path.components().any(|part| part.as_os_str() == "..") || parent.iter().any(has_glob) {
            let allowed = "only its last part may be a glob, and none may be ..";
            return Err(format!("`{text}` is not a home directory: {allowed}"));
        }
        if !has_glob(name) {
            return Ok(Homes::One(path));
        }
        let glob = name.to_string_lossy().into_owned();
        Ok(Homes::Matching(parent.to_owned(), Globs::parse(&[glob])?))
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

impl UserChoice {
    /// Parses names, globs, paths of home directories, `all` or `off`; the error quotes the
    /// invalid value.
    pub fn parse(texts: &[String]) -> Result<UserChoice, String> {
        let is = |word: &str, text: &String| text.eq_ignore_ascii_case(word);
        if texts.len() > 1 && texts.iter().any(|text| is("off", text)) {
            return Err("`off` cannot be combined with names".to_owned());
        }
        let texts = texts.iter().filter(|text| !is("off", text));
        let (homes, texts): (Vec<_>, Vec<_>) = texts.partition(|text| text.starts_with('/'));
        let texts: Vec<String> = texts
            .into_iter()
            .map(|text| {
                if is("all", text) {
                    "*".to_owned()
                } else {
                    text.clone()
                }
            })
            .collect();
        Ok(UserChoice {
            globs: Globs::parse(&texts)?,
            texts,
            homes: homes
                .into_iter()
                .map(|text| Homes::parse(text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether no user is selected.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.homes.is_empty()
    }

    /// Whether users are selected who are looked up in `/etc/passwd`.
    pub fn has_names(&self) -> bool {
        !self.texts.is_empty()
    }

    /// The home directories selected by path.
    pub fn homes(&self) -> &[Homes] {
        &self.homes
    }

    /// Whether this user is selected.
    pub fn has(&self, name: &str) -> bool {
        self.globs.fit(name)
    }

    /// Whether this user is selected by name, not only by a glob.
    pub fn names(&self, name: &str) -> bool {
        self.texts.iter().any(|text| text == name)
    }

    /// The names without glob characters.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.texts
            .iter()
            .map(String::as_str)
            .filter(|text| !is_glob(text))
    }
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The numeric id that owns the user's files.
    pub uid: u32,
    /// The home directory.
    pub home: PathBuf,
}

impl User {
    /// The user with this home directory, given by path, whose owner is `uid`. `known` are the
    /// users of the machine; one that is not among them is named like the directory.
    pub fn at_home(home: &Path, uid: u32, known: &[User]) -> User {
        let known = known
            .iter()
            .find(|user| user.uid == uid && user.home == home);
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        User {
            name: known.map_or_else(|| name.into_owned(), |user| user.name.clone()),
            uid,
            home: home.to_owned(),
        }
    }
}

/// Parses the text of `/etc/passwd` into the users with a home directory other than `/`. The
/// first of duplicate names wins.
pub fn users(passwd: &str) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(uid), Some(home)) = (fields.next(), fields.nth(1), fields.nth(2))
        else {
            continue;
        };
        let Ok(uid) = uid.parse() else { continue };
        let is_known = users.iter().any(|user| user.name == name);
        if !name.is_empty() && !is_known && home.len() > 1 && home.starts_with('/') {
            users.push(User {
                name: name.to_owned(),
                uid,
                home: PathBuf::from(home),
            });
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(texts: &[&str]) -> Result<UserChoice, String> {
        UserChoice::parse(
            &texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn nobody_is_read_unless_named_by_a_name_a_glob_or_all() {
        for texts in [&[] as &[&str], &["off"], &["Off"]] {
            let nobody = choice(texts).unwrap();
            assert!(nobody.is_empty() && !nobody.has("ada") && !nobody.has("off"));
        }
        let some = choice(&["ada", "dev-*"]).unwrap();
        assert!(some.has("ada") && some.has("dev-1") && !some.has("eve"));
        assert!(some.names("ada") && !some.names("dev-1"));
        assert_eq!(some.named().collect::<Vec<_>>(), ["ada"]);
        let all = choice(&["all"]).unwrap();
        assert!(all.has("eve") && !all.names("eve") && all.named().next().is_none());
        assert!(choice(&["ada", "off"]).unwrap_err().contains("off"));
        assert!(choice(&["a[b"]).unwrap_err().contains("a[b"));
    }

    #[test]
    fn a_path_selects_the_home_directory_of_a_user_who_is_in_no_list() {
        let some = choice(&["ada", "/home/corp/eve/", "/net/home/dev-*"]).unwrap();
        assert!(some.has("ada") && !some.has("eve") && some.has_names());
        assert_eq!(
            some.homes(),
            [
                Homes::One("/home/corp/eve".into()),
                Homes::Matching(
                    "/net/home".into(),
                    Globs::parse(&["dev-*".to_owned()]).unwrap()
                )
            ]
        );
        let one = choice(&["/home/eve"]).unwrap();
        assert!(!one.is_empty() && !one.has_names());
        for wrong in ["/", "/home/*/eve", "/home/eve/..", "/home/a[b"] {
            assert!(choice(&[wrong]).is_err(), "{wrong}");
        }
        let known = users("ada:x:1000:1000::/home/ada:/bin/sh");
        let name = |home: &str| User::at_home(Path::new(home), 7, &known).name;
        assert_eq!(
            (name("/home/ada"), name("/home/eve")),
            ("ada".into(), "eve".into())
        );
    }

    #[test]
    fn users_are_lines_with_a_number_and_a_home() {
        let passwd = "ada:x:1000:1000:Ada,,,:/home/ada:/bin/sh\n\
                      # a comment\n\
                      +nis:::::\n\
                      short:x:1\n\
                      bad:x:-1:1::/home/bad:/bin/sh\n\
                      nowhere:x:7:7::/:/bin/sh\n\
                      relative:x:8:8::home:/bin/sh\n\
                      ada:x:1001:1001::/home/eve:/bin/sh\n\
                      :x:1002:1002::/home/nameless:/bin/sh";
        let ada = User {
            name: "ada".into(),
            uid: 1000,
            home: "/home/ada".into(),
        };
        assert_eq!(users(passwd), [ada]);
    }
}
