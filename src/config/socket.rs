//! The address of a Docker-compatible API.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The socket of a Docker-compatible API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerSocket {
    /// A socket in the file system. The path is resolved again for every connection, so a
    /// socket that replaces it is found.
    Unix(PathBuf),
}

/// The text is not a valid socket address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a unix socket; use unix:///var/run/docker.sock or an absolute path")]
pub struct NoSocket(String);

impl FromStr for DockerSocket {
    type Err = NoSocket;

    fn from_str(text: &str) -> Result<DockerSocket, NoSocket> {
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
        // The root path is absolute but has no file name.
        if !path.is_absolute() || path.file_name().is_none() || text.contains('\0') {
            return Err(NoSocket(text.to_owned()));
        }
        Ok(DockerSocket::Unix(path.to_owned()))
    }
}

impl fmt::Display for DockerSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DockerSocket::Unix(path) = self;
        write!(f, "unix://{}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_a_unix_url_or_an_absolute_path() {
        let unix = |path: &str| Ok(DockerSocket::Unix(PathBuf::from(path)));
        assert_eq!(
            "unix:///var/run/docker.sock".parse(),
            unix("/var/run/docker.sock")
        );
        assert_eq!("/run/docker.sock".parse(), unix("/run/docker.sock"));
        for text in [
            "",
            "unix://",
            "unix:///",
            "/",
            "docker.sock",
            "unix://run/docker.sock",
            "tcp://h:1",
            "/a\0b",
        ] {
            let error = text.parse::<DockerSocket>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
