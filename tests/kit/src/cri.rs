//! As much of the kubelet's side of the CRI (kubernetes `cri-api/pkg/apis/runtime/v1/api.proto`)
//! as it takes to run a container and have its log opened anew: gRPC with one call a
//! connection, in as few frames of HTTP/2 as that needs.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use prost::Message;

/// Frames of HTTP/2, by their number.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// Their flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The machine's own network, process ids and so on.
pub const NODE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub struct PodMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct NamespaceOption {
    #[prost(int32, tag = "1")]
    pub network: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodSecurity {
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinuxPod {
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub security: Option<PodSecurity>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PodConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodMetadata>,
    #[prost(string, tag = "3")]
    pub log_directory: String,
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RunPodSandbox {
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    #[prost(string, tag = "1")]
    pub image: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    pub namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    pub security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    #[prost(string, tag = "11")]
    pub log_path: String,
    #[prost(bool, tag = "14")]
    pub is_terminal: bool,
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CreateContainer {
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodConfig>,
}

/// Every request and answer that is but an id.
#[derive(Clone, PartialEq, Message)]
pub struct Id {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Calls a method of the runtime's service; an error where it answers without a message,
/// as gRPC does of a failure.
pub fn call(socket: &Path, method: &str, request: &impl Message) -> Result<Id, String> {
    call_for_bytes(socket, method, request)
        .map_err(|error| format!("{method}: {error}"))
        .and_then(|bytes| {
            Id::decode(bytes.as_slice()).map_err(|error| format!("{method}: {error}"))
        })
}

fn call_for_bytes(socket: &Path, method: &str, request: &impl Message) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = UnixStream::connect(socket).map_err(text)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .map_err(text)?;
    // Without compression: two values of HPACK's own table, then names and values.
    let mut headers = vec![0x83, 0x86];
    put_header(
        &mut headers,
        &[0x04],
        &format!("/runtime.v1.RuntimeService/{method}"),
    );
    put_header(&mut headers, &[0x01], "localhost");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        let mut literal = vec![0, name.len() as u8];
        literal.extend_from_slice(name.as_bytes());
        put_header(&mut headers, &literal, value);
    }
    let body = request.encode_to_vec();
    let mut message = vec![0];
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend_from_slice(&body);
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put_frame(&mut out, SETTINGS, 0, 0, &[]);
    put_frame(&mut out, HEADERS, END_HEADERS, 1, &headers);
    put_frame(&mut out, DATA, END_STREAM, 1, &message);
    stream.write_all(&out).map_err(text)?;
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).map_err(text)?;
        let [l1, l2, l3, kind, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l1, l2, l3]) as usize];
        stream.read_exact(&mut payload).map_err(text)?;
        let mut reply = Vec::new();
        match kind {
            DATA => answer.extend_from_slice(&payload),
            SETTINGS if flags & ACK == 0 => put_frame(&mut reply, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => put_frame(&mut reply, PING, ACK, 0, &payload),
            _ => {}
        }
        stream.write_all(&reply).map_err(text)?;
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            return match answer.split_at_checked(5) {
                Some((_, message)) => Ok(message.to_vec()),
                None => Err("refused".to_owned()),
            };
        }
    }
}

fn put_header(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    assert!(value.len() < 127, "one byte tells its length");
    out.push(value.len() as u8);
    out.extend_from_slice(value.as_bytes());
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let [_, l1, l2, l3] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[l1, l2, l3, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
