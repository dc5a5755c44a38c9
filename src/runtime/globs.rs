//! Globs of names.

use globset::{Glob, GlobMatcher};

/// Globs of which one must fit.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    globs: Vec<GlobMatcher>,
}

impl PartialEq for Globs {
    fn eq(&self, other: &Globs) -> bool {
        self.globs
            .iter()
            .map(GlobMatcher::glob)
            .eq(other.globs.iter().map(GlobMatcher::glob))
    }
}

impl Eq for Globs {}

impl Globs {
    /// Checks `texts`; the error quotes the one that is wrong.
    pub fn parse(texts: &[String]) -> Result<Globs, String> {
        let globs = texts.iter().map(|text| {
            let glob = Glob::new(text).map_err(|error| format!("`{text}`: {}", error.kind()))?;
            Ok(glob.compile_matcher())
        });
        Ok(Globs {
            globs: globs.collect::<Result<_, String>>()?,
        })
    }

    /// Whether any of them fits.
    pub fn fit(&self, name: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(name))
    }
}
