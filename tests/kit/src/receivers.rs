//! Who Fluent Bit's outputs send to: small servers in this process that keep
//! what they get, each on a free port of 127.0.0.1.
//!
//! They end with the test process; a receiver that is dropped before goes on
//! listening, and nobody sends to it any more.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use rmpv::Value;

/// A server, and what it has got so far.
pub struct Receiver<T> {
    port: u16,
    kept: Arc<Mutex<Vec<T>>>,
}

impl<T: Clone + Send + 'static> Receiver<T> {
    /// `talk` serves one connection to its end; what it gives to the closure is kept.
    fn start(
        talk: impl Fn(TcpStream, &dyn Fn(T)) -> std::io::Result<()> + Send + Clone + 'static,
    ) -> Self {
        Receiver::on(
            TcpListener::bind(("127.0.0.1", 0)).expect("a free port"),
            talk,
        )
    }

    /// The same where somebody may be waiting already.
    fn on(
        listener: TcpListener,
        talk: impl Fn(TcpStream, &dyn Fn(T)) -> std::io::Result<()> + Send + Clone + 'static,
    ) -> Self {
        let port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&kept);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (talk, kept) = (talk.clone(), Arc::clone(&keeping));
                std::thread::spawn(move || {
                    let keep = |thing| {
                        kept.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(thing)
                    };
                    if let Err(error) = talk(stream, &keep) {
                        // A host that is killed may leave half a request.
                        if error.kind() != ErrorKind::UnexpectedEof
                            && error.kind() != ErrorKind::ConnectionReset
                        {
                            eprintln!("receiver on port {port}: {error}");
                        }
                    }
                });
            }
        });
        Receiver { port, kept }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has come so far, in order.
    pub fn received(&self) -> Vec<T> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A request with its body unpacked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

/// An HTTP/1.1 server that says yes to everything.
pub fn http() -> Receiver<Request> {
    answering(|_| (200, String::new()))
}

/// The same, and it waits before each answer.
pub fn slow_http(wait: impl Fn() + Send + Sync + 'static) -> Receiver<Request> {
    answering(move |_| {
        wait();
        (200, String::new())
    })
}

/// The same where somebody may be waiting already; it keeps nothing, however much comes.
pub fn http_on(listener: TcpListener) {
    Receiver::<()>::on(listener, |stream, _| {
        talk_http(stream, |_| (200, String::new()))
    });
}

/// An HTTP/1.1 server with a status and a body for each request.
pub fn answering(
    answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static,
) -> Receiver<Request> {
    let answer = Arc::new(answer);
    Receiver::start(move |stream, keep| {
        talk_http(stream, |request| {
            keep(request.clone());
            answer(request)
        })
    })
}

fn talk_http(stream: TcpStream, answer: impl Fn(&Request) -> (u16, String)) -> std::io::Result<()> {
    let mut answers = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let (status, body) = answer(&request);
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        answers.write_all((head + &body).as_bytes())?;
    }
    Ok(())
}

/// The next request of a connection; none at its end.
fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line
        .split(' ')
        .nth(1)
        .ok_or_else(|| bad(format!("not a request: {line:?}")))?
        .to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request {
        path,
        headers,
        body: Vec::new(),
    };
    // A GET has none.
    let length = Some(request.header("content-length")).filter(|length| !length.is_empty());
    let length: u64 = length.map_or(Ok(0), str::parse).map_err(bad)?;
    let mut body = vec![0; usize::try_from(length).map_err(bad)?];
    reader.read_exact(&mut body)?;
    request.body = unpack(request.header("content-encoding"), body)?;
    Ok(Some(request))
}

fn unpack(encoding: &str, body: Vec<u8>) -> std::io::Result<Vec<u8>> {
    match encoding {
        "" => Ok(body),
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            Ok(plain)
        }
        other => Err(bad(format!("content-encoding {other}"))),
    }
}

/// One event of the forward protocol.
#[derive(Clone, Debug)]
pub struct Forwarded {
    pub tag: String,
    pub time: Value,
    pub body: Value,
}

/// A server of Fluentd's forward protocol, version 1, that acknowledges each
/// chunk where it is asked to, as a Fluentd does.
pub fn forward() -> Receiver<Forwarded> {
    Receiver::start(|stream, keep| {
        let mut answers = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        while !reader.fill_buf()?.is_empty() {
            let message = rmpv::decode::read_value(&mut reader).map_err(bad)?;
            let (events, chunk) =
                events_of(&message).ok_or_else(|| bad(format!("{message:.300}")))?;
            events.into_iter().for_each(keep);
            if let Some(chunk) = chunk {
                let mut answer = Vec::new();
                let ack = Value::Map(vec![("ack".into(), chunk)]);
                rmpv::encode::write_value(&mut answer, &ack).map_err(bad)?;
                answers.write_all(&answer)?;
            }
        }
        Ok(())
    })
}

/// The events of a message, and the chunk that is to be acknowledged. A message
/// is `[tag, [[time, record], …], options]`, or the same events as one binary.
fn events_of(message: &Value) -> Option<(Vec<Forwarded>, Option<Value>)> {
    let [tag, entries, options @ ..] = message.as_array()?.as_slice() else {
        return None;
    };
    let option = |name: &str| {
        let options = options.first()?.as_map()?;
        options
            .iter()
            .find(|(key, _)| key.as_str() == Some(name))
            .map(|(_, value)| value.clone())
    };
    let mut packed = entries.as_slice().map(<[u8]>::to_vec).unwrap_or_default();
    match option("compressed").as_ref().map(Value::as_str) {
        None | Some(Some("text")) => {}
        Some(encoding) => packed = unpack(encoding?, packed).ok()?,
    }
    let mut entries = entries.as_array().cloned().unwrap_or_default();
    let mut rest = packed.as_slice();
    while !rest.is_empty() {
        entries.push(rmpv::decode::read_value(&mut rest).ok()?);
    }
    let event = |entry: &Value| {
        let [time, body] = entry.as_array()?.as_slice() else {
            return None;
        };
        Some(Forwarded {
            tag: tag.as_str()?.to_owned(),
            time: time.clone(),
            body: body.clone(),
        })
    };
    Some((
        entries.iter().map(event).collect::<Option<_>>()?,
        option("chunk"),
    ))
}

fn bad(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, error)
}
