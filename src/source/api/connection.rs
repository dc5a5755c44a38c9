//! One HTTP connection for one request, directly over hyper: the head of the response within a
//! deadline, then its body, chunk by chunk and only on demand.
//!
//! No client library of Docker is used. Such a library does not report when a subscription is
//! established, supports `since` in whole seconds only, treats the daemon's error frames as text,
//! and rejects a whole answer for one value that it does not know.
//!
//! No task runs the connection: whoever polls the body drives it, so a body that is not polled
//! is not read.

use std::future::{poll_fn, Future};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HeaderValue, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::source::api::entries::error_text;
use crate::source::api::podman::{Release, VERSION_HEADER};

/// Time limit for the head of a response.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The most that is read from a connection at once. It stays allocated after a burst, so it
/// bounds the memory of an idle container.
const READ_BUFFER: usize = 8 * 1024;

/// Wait before connecting again if a Unix socket's backlog is full, in which case it refuses
/// at once.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// Limit on the bytes read of an error's body.
const LONGEST_ERROR_BODY: usize = 8 * 1024;

type Driver = http1::Connection<TokioIo<UnixStream>, Empty<Bytes>>;

/// A response whose head has been received.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its content type; empty if there is none.
    pub content_type: String,
    /// The release of Podman, if Podman answered.
    pub podman: Option<Release>,
    /// The body.
    pub body: StreamBody,
}

/// A body with its connection, which is closed with it.
pub struct StreamBody {
    incoming: Incoming,
    driver: Option<Driver>,
    /// Kept because without a sender the driver would start to close the connection.
    _sender: http1::SendRequest<Empty<Bytes>>,
}

/// Connects and sends `GET target`. Without an API version in the path, the daemon uses its own,
/// and no negotiation is needed.
pub async fn get(socket: &Path, target: &str) -> Result<Answer, String> {
    match timeout(ANSWER_DEADLINE, get_without_deadline(socket, target)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "{}: no answer within {ANSWER_DEADLINE:?}",
            socket.display()
        )),
    }
}

/// Why a request failed, for a message that names the socket.
pub fn without_socket(socket: &Path, reason: String) -> String {
    let socket = format!("{}: ", socket.display());
    match reason.strip_prefix(&socket) {
        Some(rest) => rest.to_owned(),
        None => reason,
    }
}

async fn get_without_deadline(socket: &Path, target: &str) -> Result<Answer, String> {
    let stream = connect(socket)
        .await
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    let (mut sender, driver) = http1::Builder::new()
        .read_buf_exact_size(Some(READ_BUFFER))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| text_of(&error))?;
    let request = Request::get(target)
        .header(HOST, HeaderValue::from_static("docker"))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let mut driver = Some(driver);
    let response = {
        let mut response = std::pin::pin!(sender.send_request(request));
        poll_fn(|context| {
            drive(&mut driver, context);
            response.as_mut().poll(context)
        })
        .await
        .map_err(|error| text_of(&error))?
    };
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let podman = response
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok());
    Ok(Answer {
        podman: podman.map(Release::parse),
        status: response.status(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: StreamBody {
            incoming: response.into_body(),
            driver,
            _sender: sender,
        },
    })
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
            result => return result,
        }
    }
}

/// Drives the connection. Its errors are also returned by the body.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(connection) = driver {
        if Pin::new(connection).poll(context).is_ready() {
            *driver = None;
        }
    }
}

impl StreamBody {
    /// Returns the next chunk; `None` at the regular end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    /// As [`chunk`](StreamBody::chunk), but fails if it does not arrive in time.
    pub async fn chunk_within(&mut self, most: Duration) -> Option<Result<Bytes, String>> {
        match timeout(most, self.chunk()).await {
            Ok(chunk) => chunk,
            Err(_) => Some(Err(format!("the answer stalled for {most:?}"))),
        }
    }

    /// As [`chunk`](StreamBody::chunk), but without waiting.
    pub async fn chunk_at_hand(&mut self) -> Poll<Option<Result<Bytes, String>>> {
        poll_fn(|context| Poll::Ready(self.poll_chunk(context))).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        loop {
            let mut frame = Pin::new(&mut self.incoming).poll_frame(context);
            if frame.is_pending() {
                // The body is wanted now, so let the driver read it.
                drive(&mut self.driver, context);
                frame = Pin::new(&mut self.incoming).poll_frame(context);
            }
            match frame {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(text_of(&error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                }
            }
        }
    }

    /// Reads the body into `bytes`; ends early once there are more than `most`.
    pub async fn read_to_end(&mut self, most: usize, bytes: &mut Vec<u8>) -> Result<(), String> {
        while let Some(chunk) = self.chunk().await {
            bytes.extend_from_slice(&chunk?);
            if bytes.len() > most {
                break;
            }
        }
        Ok(())
    }

    /// Returns the text of an error's body, which the daemon wraps in JSON.
    pub async fn error_text(mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.read_to_end(LONGEST_ERROR_BODY, &mut bytes);
        // A failure is treated as the end: the status is known anyway.
        let _ = timeout(ANSWER_DEADLINE, read).await;
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        match serde_json::from_slice::<Message>(&bytes) {
            Ok(error) => error_text(error.message.as_bytes()),
            Err(_) => error_text(&bytes),
        }
    }
}

/// The text of an error with its causes, which hyper's own text omits.
pub fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
