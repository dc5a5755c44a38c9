//! What an OpenTelemetry collector is sent: the messages of OTLP's
//! `logs_service.proto`, as far as the tests look at them. Fields that are not
//! named here are passed over, as protobuf has it.

use prost::Message;

/// `ExportLogsServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportLogs {
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    pub value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    Map(KeyValueList),
    #[prost(bytes, tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

impl ExportLogs {
    /// A request's body.
    pub fn parse(body: &[u8]) -> Result<ExportLogs, String> {
        ExportLogs::decode(body).map_err(|error| error.to_string())
    }

    /// Every record, with the attributes of its resource.
    pub fn records(self) -> impl Iterator<Item = (Vec<KeyValue>, LogRecord)> {
        self.resource_logs.into_iter().flat_map(|of_resource| {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            let records = of_resource
                .scope_logs
                .into_iter()
                .flat_map(|scope| scope.log_records);
            records.map(move |record| (resource.clone(), record))
        })
    }
}

/// The value as JSON.
pub fn to_json(value: Option<AnyValue>) -> serde_json::Value {
    match value.and_then(|value| value.value) {
        None => serde_json::Value::Null,
        Some(Any::Text(text)) => text.into(),
        Some(Any::Bool(value)) => value.into(),
        Some(Any::Int(value)) => value.into(),
        Some(Any::Double(value)) => value.into(),
        Some(Any::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned().into(),
        Some(Any::Array(array)) => array
            .values
            .into_iter()
            .map(|value| to_json(Some(value)))
            .collect(),
        Some(Any::Map(map)) => map_to_json(map.values),
    }
}

/// Attributes as a JSON object.
pub fn map_to_json(entries: Vec<KeyValue>) -> serde_json::Value {
    let entries = entries
        .into_iter()
        .map(|entry| (entry.key, to_json(entry.value)));
    serde_json::Value::Object(entries.collect())
}
