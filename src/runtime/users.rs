//! The users whose storages are read: which are selected (`Podman_Users`) and which exist
//! (`/etc/passwd`). Pure.

use std::path::PathBuf;

use crate::runtime::globs::Globs;

/// `Podman_Users`: selects no user by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChoice {
    texts: Vec<String>,
    globs: Globs,
}

impl UserChoice {
    /// Parses names, globs, `all` or `off`; the error quotes the invalid value.
    pub fn parse(texts: &[String]) -> Result<UserChoice, String> {
        let is = |word: &str, text: &String| text.eq_ignore_ascii_case(word);
        if texts.len() > 1 && texts.iter().any(|text| is("off", text)) {
            return Err("`off` cannot be combined with names".to_owned());
        }
        let texts = texts.iter().filter(|text| !is("off", text));
        let texts: Vec<String> = texts
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
        })
    }

    /// Whether no user is selected.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
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
            .filter(|text| !text.contains(['*', '?', '[', '{', '\\']))
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
