//! Lists of globs for names.

use globset::{Glob, GlobMatcher};

/// Globs, of which at least one must match.
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
    /// Compiles `texts`; the error quotes the invalid one.
    pub fn parse(texts: &[String]) -> Result<Globs, String> {
        let globs = texts.iter().map(|text| {
            let glob = Glob::new(text).map_err(|error| format!("`{text}`: {}", error.kind()))?;
            Ok(glob.compile_matcher())
        });
        Ok(Globs {
            globs: globs.collect::<Result<_, String>>()?,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.globs.is_empty()
    }

    /// Whether any glob matches `name`.
    pub fn fit(&self, name: &str) -> bool {
        self.globs.iter().any(|glob| glob.is_match(name))
    }
}
