//! List and inspect requests, each on a connection of its own that is closed afterwards.
//!
//! Lists and inspections are limited separately: a daemon that hangs on one container (whose
//! lock is never released) still answers lists. A bounded number of inspections is in flight,
//! at most one per container.
//!
//! Only what is needed of an answer is decoded ([`answers`]), so that a value
//! unknown here, such as a new state of a container, does not hide all containers.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use hyper::StatusCode;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::timeout;

use crate::runtime::bounded_reason::reason_of;
use crate::runtime::id::ContainerId;
use crate::source::api::answers::{self, Listed};
use crate::source::api::connection::{get, ANSWER_DEADLINE};
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

/// Limits on the bytes of an answer: 10,000 containers with labels, and one with labels and
/// variables beyond any use.
const LONGEST_LIST: usize = 64 << 20;
const LONGEST_INSPECTION: usize = 8 << 20;

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
        let answer = self.ask("/containers/json?all=1", LONGEST_LIST).await?;
        decoded(answers::listed(&answer))
    }

    /// Inspects one container.
    pub async fn inspect(&self, id: &ContainerId) -> Result<Inspected, RequestError> {
        let _of_container = self.one_inspection_of(*id).await;
        let _turn = self.inspections.acquire().await;
        let target = format!("/containers/{id}/json");
        let answer = self.ask(&target, LONGEST_INSPECTION).await?;
        decoded(answers::inspected(&answer))
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

    /// Returns the body of a successful answer. One of more than `longest` bytes is cut, which
    /// its decoder notices.
    async fn ask(&self, target: &str, longest: usize) -> Result<Vec<u8>, RequestError> {
        let begun = Instant::now();
        let whole = async {
            let mut answer = get(&self.socket, target).await?;
            let mut body = Vec::new();
            match answer.status {
                StatusCode::OK => answer.body.read_to_end(longest, &mut body).await?,
                _ => body = answer.body.error_text().await.into_bytes(),
            }
            Ok::<_, String>((answer.status, body))
        };
        let reason = match timeout(ANSWER_DEADLINE, whole).await {
            Ok(Ok((status, body))) => {
                self.daemon.note_answer();
                return match status {
                    StatusCode::OK => Ok(body),
                    StatusCode::NOT_FOUND => Err(RequestError::NotFound),
                    status => Err(RequestError::Failed(format!(
                        "{status}: {}",
                        String::from_utf8_lossy(&body)
                    ))),
                };
            }
            Ok(Err(reason)) => reason,
            Err(_) => {
                let reason = format!(
                    "{}: no answer within {ANSWER_DEADLINE:?}",
                    self.socket.display()
                );
                self.daemon.note_silence(begun, &reason);
                return Err(RequestError::NoAnswer(reason));
            }
        };
        self.daemon.note_silence(begun, &reason);
        Err(RequestError::Failed(reason))
    }
}

fn decoded<T>(answer: Result<T, serde_json::Error>) -> Result<T, RequestError> {
    answer.map_err(|error| RequestError::Failed(format!("invalid answer: {}", reason_of(&error))))
}
