//! List and inspect, through bollard: one request at a time, each on a
//! connection of its own that is closed after it.
//!
//! bollard asks without a version of the API in the path (it joins an absolute
//! path to a URL, which drops the version), so the daemon answers in its own
//! and there is nothing to agree on beforehand.

use std::path::PathBuf;
use std::time::Instant;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{Docker, API_DEFAULT_VERSION};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connection::{text_of, ANSWER_DEADLINE};
use super::context::Context;
use super::entries::error_text;
use super::Inspected;
use crate::checkpoint::ContainerId;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// There is no such container.
    #[error("no such container")]
    NotFound,
    /// Everything else.
    #[error("{0}")]
    Failed(String),
}

/// A container in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub id: ContainerId,
    /// Whether it runs.
    pub running: bool,
}

/// The one connection for requests.
pub struct Requests {
    socket: PathBuf,
    /// Held by the request that has it; the others come in turn.
    turn: Mutex<()>,
}

impl Requests {
    /// Connects to nothing yet.
    pub fn new(socket: PathBuf) -> Requests {
        Requests { socket, turn: Mutex::new(()) }
    }

    /// All containers, running or not.
    pub async fn list(&self, context: &Context) -> Result<Vec<Listed>, RequestError> {
        let listed = self.ask(context, async |client| {
            let options = ListContainersOptionsBuilder::new().all(true).build();
            client.list_containers(Some(options)).await
        });
        let listed = listed.await?.into_iter().filter_map(|summary| {
            let running = matches!(
                summary.state,
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
            );
            Some(Listed { id: ContainerId::parse(&summary.id?)?, running })
        });
        Ok(listed.collect())
    }

    /// One container.
    pub async fn inspect(&self, context: &Context, id: &ContainerId) -> Result<Inspected, RequestError> {
        let id = id.to_string();
        self.ask(context, async |client| client.inspect_container(&id, None).await).await.map(inspected)
    }

    async fn ask<T>(
        &self,
        context: &Context,
        request: impl AsyncFnOnce(&Docker) -> Result<T, Error>,
    ) -> Result<T, RequestError> {
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        let whole = async {
            let path = self.socket.to_string_lossy();
            let docker = Docker::connect_with_unix(&path, ANSWER_DEADLINE.as_secs(), API_DEFAULT_VERSION)?;
            request(&docker).await
        };
        let error = match timeout(ANSWER_DEADLINE, whole).await {
            Ok(Ok(answer)) => {
                context.note_answer();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::RequestTimeoutError,
        };
        let reason = match error {
            Error::DockerResponseServerError { status_code: 404, .. } => {
                context.note_answer();
                return Err(RequestError::NotFound);
            }
            Error::DockerResponseServerError { status_code, message } => {
                context.note_answer();
                format!("{status_code}: {}", error_text(message.as_bytes()))
            }
            Error::JsonDataError { message, .. } => {
                context.note_answer();
                format!("not understood: {}", error_text(message.as_bytes()))
            }
            Error::RequestTimeoutError => {
                let reason = format!("{}: no answer within {ANSWER_DEADLINE:?}", self.socket.display());
                context.note_silence(begun, &reason);
                reason
            }
            other => {
                let reason = format!("{}: {}", self.socket.display(), text_of(&other));
                context.note_silence(begun, &reason);
                reason
            }
        };
        Err(RequestError::Failed(reason))
    }
}

fn inspected(response: ContainerInspectResponse) -> Inspected {
    let name = response.name.unwrap_or_default();
    let config = response.config.unwrap_or_default();
    let log_config = response.host_config.and_then(|host| host.log_config).unwrap_or_default();
    let log_driver = log_config.typ.unwrap_or_default();
    let max_size = log_config.config.as_ref().and_then(|options| options.get("max-size"));
    Inspected {
        name: name.strip_prefix('/').unwrap_or(&name).to_owned(),
        image: config.image.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        tty: config.tty.unwrap_or_default(),
        running: response.state.and_then(|state| state.running).unwrap_or_default(),
        log_rotates: rotates(&log_driver, max_size.map(String::as_str)),
        log_driver,
    }
}

/// Whether a log of this driver rotates. What has no reader of its own is kept in
/// a cache by Docker, which rotates as `local` does.
fn rotates(driver: &str, max_size: Option<&str>) -> bool {
    match driver {
        "json-file" => max_size.is_some_and(|size| size != "-1"),
        // The last two are Podman's.
        "" | "none" | "journald" | "k8s-file" | "passthrough" => false,
        _ => max_size != Some("-1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_rotates_by_its_driver_and_its_limit() {
        for (driver, max_size, expected) in [
            ("json-file", None, false),
            ("json-file", Some("-1"), false),
            ("json-file", Some("10m"), true),
            ("local", None, true),
            ("local", Some("-1"), false),
            ("syslog", None, true),
            ("journald", None, false),
            ("", None, false),
        ] {
            assert_eq!(rotates(driver, max_size), expected, "{driver} {max_size:?}");
        }
    }
}
