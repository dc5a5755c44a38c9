//! List and inspect requests through bollard, each on a connection of its own that is closed
//! afterwards.
//!
//! Lists and inspections are limited separately: a daemon that hangs on one container (whose
//! lock is never released) still answers lists. A bounded number of inspections is in flight,
//! at most one per container.
//!
//! bollard sends requests without an API version in the path (it joins an absolute path to a
//! URL, which drops the version), so the daemon uses its own version and no negotiation is
//! needed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use bollard::{Docker, API_DEFAULT_VERSION};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::timeout;

use crate::runtime::id::ContainerId;
use crate::source::api::connection::{text_of, ANSWER_DEADLINE};
use crate::source::api::entries::error_text;
use crate::source::api::inspections::MOST_IN_FLIGHT;
use crate::source::api::reachability::Reachability;
use crate::source::api::Inspected;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The container does not exist.
    #[error("no such container")]
    NotFound,
    /// The daemon did not answer in time.
    #[error("{0}")]
    NoAnswer(String),
    /// Any other failure.
    #[error("{0}")]
    Failed(String),
}

/// A container in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ContainerId,
    /// Whether it runs.
    pub running: bool,
}

/// The requests in flight.
pub struct Requests {
    socket: PathBuf,
    daemon: Rc<Reachability>,
    /// Held by the list in flight.
    lists: Mutex<()>,
    /// A permit is held by each inspection in flight.
    inspections: Semaphore,
    /// The containers whose inspection is in flight or waits for a permit.
    inspected: RefCell<HashSet<ContainerId>>,
    /// Notified when one of them is done.
    has_inspected: Notify,
}

/// Holds the only inspection slot of a container.
struct OfContainer<'a> {
    requests: &'a Requests,
    id: ContainerId,
}

impl Drop for OfContainer<'_> {
    fn drop(&mut self) {
        self.requests.inspected.borrow_mut().remove(&self.id);
        self.requests.has_inspected.notify_waiters();
    }
}

impl Requests {
    /// Creates it without connecting.
    pub fn new(socket: PathBuf, daemon: Rc<Reachability>) -> Requests {
        Requests {
            socket,
            daemon,
            lists: Mutex::new(()),
            inspections: Semaphore::new(MOST_IN_FLIGHT),
            inspected: RefCell::default(),
            has_inspected: Notify::new(),
        }
    }

    /// Lists all containers, running or not.
    pub async fn list(&self) -> Result<Vec<Listed>, RequestError> {
        let _turn = self.lists.lock().await;
        let listed = self.ask(async |client| {
            let options = ListContainersOptionsBuilder::new().all(true).build();
            client.list_containers(Some(options)).await
        });
        let listed = listed.await?.into_iter().filter_map(|summary| {
            let running = matches!(
                summary.state,
                Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
            );
            Some(Listed {
                id: ContainerId::parse(&summary.id?)?,
                running,
            })
        });
        Ok(listed.collect())
    }

    /// Inspects one container.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Inspected, RequestError> {
        let _of_container = self.one_inspection_of(*id).await;
        let _turn = self.inspections.acquire().await;
        let id = id.to_string();
        self.ask(async |client| client.inspect_container(&id, None).await)
            .await
            .map(inspected)
    }

    async fn one_inspection_of(&self, id: ContainerId) -> OfContainer<'_> {
        loop {
            let done = self.has_inspected.notified();
            if self.inspected.borrow_mut().insert(id) {
                return OfContainer { requests: self, id };
            }
            done.await;
        }
    }

    async fn ask<T>(
        &self,
        request: impl AsyncFnOnce(&Docker) -> Result<T, Error>,
    ) -> Result<T, RequestError> {
        let begun = Instant::now();
        let whole = async {
            let path = self.socket.to_string_lossy();
            let docker =
                Docker::connect_with_unix(&path, ANSWER_DEADLINE.as_secs(), API_DEFAULT_VERSION)?;
            request(&docker).await
        };
        let error = match timeout(ANSWER_DEADLINE, whole).await {
            Ok(Ok(answer)) => {
                self.daemon.note_answer();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::RequestTimeoutError,
        };
        let reason = match error {
            Error::DockerResponseServerError {
                status_code: 404, ..
            } => {
                self.daemon.note_answer();
                return Err(RequestError::NotFound);
            }
            Error::DockerResponseServerError {
                status_code,
                message,
            } => {
                self.daemon.note_answer();
                format!("{status_code}: {}", error_text(message.as_bytes()))
            }
            Error::JsonDataError { message, .. } => {
                self.daemon.note_answer();
                format!("invalid answer: {}", error_text(message.as_bytes()))
            }
            Error::RequestTimeoutError => {
                let reason = format!(
                    "{}: no answer within {ANSWER_DEADLINE:?}",
                    self.socket.display()
                );
                self.daemon.note_silence(begun, &reason);
                return Err(RequestError::NoAnswer(reason));
            }
            other => {
                let reason = format!("{}: {}", self.socket.display(), text_of(&other));
                self.daemon.note_silence(begun, &reason);
                reason
            }
        };
        Err(RequestError::Failed(reason))
    }
}

fn inspected(response: ContainerInspectResponse) -> Inspected {
    let name = response.name.unwrap_or_default();
    let config = response.config.unwrap_or_default();
    let log_config = response
        .host_config
        .and_then(|host| host.log_config)
        .unwrap_or_default();
    let log_driver = log_config.typ.unwrap_or_default();
    let max_size = log_config
        .config
        .as_ref()
        .and_then(|options| options.get("max-size"));
    Inspected {
        name: name.strip_prefix('/').unwrap_or(&name).to_owned(),
        image: config.image.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        tty: config.tty.unwrap_or_default(),
        running: response
            .state
            .and_then(|state| state.running)
            .unwrap_or_default(),
        log_rotates: rotates(&log_driver, max_size.map(String::as_str)),
        log_driver,
    }
}

/// Whether a log of this driver rotates. If a driver cannot be read back, Docker keeps a cache
/// of its log, which rotates as `local` does.
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
