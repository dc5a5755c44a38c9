//! One HTTP connection for one request, straight over hyper: the answer's head
//! within a deadline, then its body, chunk by chunk and only as it is asked for.
//!
//! bollard is not used for what streams. It does not tell when a subscription
//! stands, knows `since` in whole seconds only, and takes a daemon's error frame
//! for text.
//!
//! There is no task behind a connection: whoever polls the body drives it, so
//! what is not polled is not read.

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

/// How long the daemon may take for the head of an answer.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Read at once from a connection at the most. It stays allocated after a
/// burst, so it bounds what an idle container costs.
const READ_BUFFER: usize = 8 * 1024;

/// A Unix socket whose queue of waiting connections is full refuses at once.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// The body of an error is read up to here.
const LONGEST_ERROR_BODY: usize = 8 * 1024;

type Driver = http1::Connection<TokioIo<UnixStream>, Empty<Bytes>>;

/// An answer whose head has come.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its content type, empty if it has none.
    pub content_type: String,
    /// The release of Podman, if it is Podman that answers.
    pub podman: Option<Release>,
    /// The rest.
    pub body: StreamBody,
}

/// A body, and the connection it comes by, which is closed with it.
pub struct StreamBody {
    incoming: Incoming,
    driver: Option<Driver>,
    /// Kept: without a sender the driver would think of closing.
    _sender: http1::SendRequest<Empty<Bytes>>,
}

/// Connects and sends `GET target`.
pub async fn get(socket: &Path, target: &str) -> Result<Answer, String> {
    match timeout(ANSWER_DEADLINE, get_without_deadline(socket, target)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "{}: no answer within {ANSWER_DEADLINE:?}",
            socket.display()
        )),
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

/// Lets the connection do its work. Its errors come out of the body, too.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if let Some(connection) = driver {
        if Pin::new(connection).poll(context).is_ready() {
            *driver = None;
        }
    }
}

impl StreamBody {
    /// The next chunk; `None` at an orderly end.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    /// As [`chunk`](StreamBody::chunk), and an error if it does not come in time.
    pub async fn chunk_within(&mut self, most: Duration) -> Option<Result<Bytes, String>> {
        match timeout(most, self.chunk()).await {
            Ok(chunk) => chunk,
            Err(_) => Some(Err(format!("the answer stalled for {most:?}"))),
        }
    }

    /// As [`chunk`](StreamBody::chunk), without waiting for it.
    pub async fn chunk_at_hand(&mut self) -> Poll<Option<Result<Bytes, String>>> {
        poll_fn(|context| Poll::Ready(self.poll_chunk(context))).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        loop {
            let mut frame = Pin::new(&mut self.incoming).poll_frame(context);
            if frame.is_pending() {
                // Now that the body is wanted the driver reads it.
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

    /// What an error's body says. The daemon packs it into JSON.
    pub async fn error_text(mut self) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while let Some(Ok(chunk)) = self.chunk().await {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > LONGEST_ERROR_BODY {
                    break;
                }
            }
        };
        // Too late is as good as the end: the status is known anyway.
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

/// An error with its causes, for hyper's own text leaves them out.
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
