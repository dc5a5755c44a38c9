//! `top --url`: the metrics of a running Fluent Bit, asked for over HTTP.

use std::io;
use std::sync::mpsc::{channel, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::metrics::Metrics;
use super::screen::Screen;
use super::title;
use super::updates::Updates;
use crate::arguments::Arguments;
use crate::follow::Stop;
use crate::say;

/// Where Fluent Bit has its metrics, unless the address has a path.
const PATH: &str = "/api/v2/metrics/prometheus";
/// Time limit for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// The most that is read of one: 10,000 containers have 30 MB.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// An address of a Fluent Bit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    path: String,
}

impl Address {
    /// Reads `http://HOST:PORT`, with or without `http://` and a path.
    pub fn parse(text: &str) -> Result<Address, String> {
        let form = "it has the form http://localhost:2020";
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let uri: Uri = full.parse().map_err(|_| form.to_owned())?;
        if uri.scheme_str() != Some("http") {
            return Err("only http:// is supported".to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(form)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Address {
            // An address of IPv6 has brackets in an URL only.
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(2020),
            path: if path == "/" { PATH } else { path }.to_owned(),
        })
    }

    /// Without the path.
    fn origin(&self) -> String {
        match self.host.contains(':') {
            true => format!("http://[{}]:{}", self.host, self.port),
            false => format!("http://{}:{}", self.host, self.port),
        }
    }
}

/// One answer, and when it came.
type Answer = (Instant, Result<Metrics, String>);

/// Shows tables until somebody ends it. Where the first answer is none, that is an error.
pub fn run(arguments: &Arguments, address: &Address, interval: Duration) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let first = ask(&runtime, address).map_err(io::Error::other)?;
    let mut updates = Updates::new(Instant::now(), first);
    let stop = Stop::at_signal()?;
    let title = title(&format!("Fluent Bit at {}", address.origin()), interval);
    let mut screen = Screen::new(arguments, title, updates.table(), &stop);
    if screen.is_live() {
        screen.show(updates.table(), None)?;
    }
    let answers = keep_asking(runtime, address.clone(), interval, stop.clone());
    let mut silence: Option<String> = None;
    while !stop.is_asked() {
        while let Ok((now, answer)) = answers.try_recv() {
            match answer {
                Ok(metrics) => {
                    updates.take(now, metrics);
                    silence = None;
                    screen.show(updates.table(), None)?;
                    if !arguments.follows() {
                        return Ok(());
                    }
                }
                Err(problem) if !arguments.follows() => return Err(io::Error::other(problem)),
                Err(problem) => {
                    let age = now.duration_since(updates.at()).as_secs();
                    if screen.is_live() {
                        let mut table = updates.table_without_rates();
                        let text = format!("{problem}; these figures are {age} s old");
                        table.troubles.insert(0, text);
                        screen.show(table, None)?;
                    } else if silence.is_none() {
                        say(&problem);
                    }
                    silence = Some(problem);
                }
            }
        }
        screen.obey(None, &stop)?;
        stop.wait(None, None)?;
    }
    Ok(())
}

/// Asks every `interval` on a thread of its own and wakes `stop` at each answer.
fn keep_asking(
    runtime: Runtime,
    address: Address,
    interval: Duration,
    stop: Stop,
) -> Receiver<Answer> {
    let (sender, answers) = channel();
    thread::spawn(move || {
        let mut due = Instant::now() + interval;
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = ask(&runtime, &address);
            let is_over = sender.send((Instant::now(), answer)).is_err();
            stop.wake();
            if is_over {
                break;
            }
            // A late answer does not hurry the next one.
            due = (due + interval).max(Instant::now());
        }
    });
    answers
}

fn ask(runtime: &Runtime, address: &Address) -> Result<Metrics, String> {
    let origin = address.origin();
    let answer = runtime.block_on(async { timeout(DEADLINE, get(address)).await });
    let text = match answer {
        Ok(text) => text.map_err(|problem| format!("{origin}: {problem}"))?,
        Err(_) => return Err(format!("{origin}: no answer within {DEADLINE:?}")),
    };
    Metrics::parse(&text).ok_or_else(|| {
        format!("{origin} answers, but has no metrics of container_logs: no input of this plugin has started there")
    })
}

async fn get(address: &Address) -> Result<String, String> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| {
            format!("{error}. Is Fluent Bit running there, with HTTP_Server On and this HTTP_Port?")
        })?;
    let wrong = |error: hyper::Error| format!("not an HTTP server: {error}");
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(wrong)?;
    tokio::spawn(driver);
    let request = Request::get(&address.path)
        .header(HOST, format!("{}:{}", address.host, address.port))
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut answer = sender.send_request(request).await.map_err(wrong)?;
    if answer.status() != StatusCode::OK {
        return Err(format!(
            "answers {} to GET {}",
            answer.status(),
            address.path
        ));
    }
    let mut text = Vec::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(wrong)?;
        if let Some(data) = frame.data_ref() {
            text.extend_from_slice(data);
        }
        if text.len() > LONGEST_ANSWER {
            return Err(format!("the answer has more than {LONGEST_ANSWER} bytes"));
        }
    }
    String::from_utf8(text).map_err(|_| "the answer is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_scheme_port_or_path() {
        let parse = |text: &str| Address::parse(text).map(|it| (it.origin(), it.path));
        let metrics = || PATH.to_owned();
        for text in [
            "http://localhost:2020",
            "http://localhost:2020/",
            "localhost:2020",
            "localhost",
        ] {
            assert_eq!(
                parse(text),
                Ok(("http://localhost:2020".to_owned(), metrics())),
                "{text}"
            );
        }
        assert_eq!(
            parse("http://[::1]:24"),
            Ok(("http://[::1]:24".to_owned(), metrics()))
        );
        let path = parse("http://logs.example.com:80/fluent/metrics");
        assert_eq!(
            path,
            Ok((
                "http://logs.example.com:80".to_owned(),
                "/fluent/metrics".to_owned()
            ))
        );
        for text in [
            "https://localhost",
            "",
            "http://",
            "http://a b",
            "unix:///x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
