//! Parses the configuration of a container as Podman's databases hold it (libpod
//! `container_config.go`): JSON of some 8 KB, of which records and decisions need a tenth.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::format::position::Timestamp;
use crate::format::rfc3339::TimeParser;
use crate::runtime::bounds::{Env, Labels};

/// What is kept of a container's configuration. Labels and variables stay unparsed until they
/// are needed: parsed, a few bytes of a hostile file would take a hundred in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Configured {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Its log driver.
    pub driver: String,
    /// Its log, unless the driver has no file.
    pub log: Option<PathBuf>,
    /// When it was created, in nanoseconds since 1970.
    pub created: Option<u64>,
    labels: Box<str>,
    env: Box<str>,
}

#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(rename = "rootfsImageName", borrow)]
    image: Option<Cow<'a, str>>,
    #[serde(rename = "logDriver", borrow)]
    driver: Option<Cow<'a, str>>,
    #[serde(rename = "logPath", borrow)]
    log: Option<Cow<'a, str>>,
    #[serde(rename = "createdTime", borrow)]
    created: Option<Cow<'a, str>>,
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
    #[serde(borrow)]
    spec: Option<Spec<'a>>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    process: Option<Process<'a>>,
}

#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow)]
    env: Option<&'a RawValue>,
}

impl Configured {
    /// Parses a configuration.
    pub fn parse(json: &str) -> Result<Configured, serde_json::Error> {
        let config: Config<'_> = serde_json::from_str(json)?;
        let text = |text: Option<Cow<'_, str>>| text.unwrap_or_default().into_owned();
        let raw = |value: Option<&RawValue>| value.map_or("", RawValue::get).into();
        let process = config.spec.and_then(|spec| spec.process);
        Ok(Configured {
            name: text(config.name),
            image: text(config.image),
            driver: text(config.driver),
            log: config
                .log
                .filter(|path| !path.is_empty())
                .map(|path| PathBuf::from(path.as_ref())),
            created: config
                .created
                .and_then(|time| TimeParser::default().parse(time.as_bytes()))
                .map(Timestamp::since_epoch),
            labels: raw(config.labels),
            env: raw(process.and_then(|process| process.env)),
        })
    }

    /// Its labels, which include those of the image.
    pub fn labels(&self) -> Labels {
        serde_json::from_str(&self.labels).unwrap_or_default()
    }

    /// Its environment variables, without those that Podman adds at a start.
    pub fn env(&self) -> Env {
        serde_json::from_str(&self.env).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_records_and_decisions_need_is_taken_out_of_a_configuration() {
        let config = Configured::parse(
            r#"{"spec":{"ociVersion":"1","process":{"env":["A=b=c","TERM=xterm"],"args":["x"]},"root":{}},
                "id":"ab","name":"web","lockID":1,"CreateCommand":["podman","run"],"RawImageName":"img",
                "rootfsImageName":"localhost/img:1","labels":{"team":"front"},"logPath":"/x/ctr.log",
                "logTag":"","logSize":-1,"logDriver":"k8s-file","isService":false}"#,
        )
        .unwrap();
        assert_eq!(
            (&*config.name, &*config.image, &*config.driver),
            ("web", "localhost/img:1", "k8s-file")
        );
        assert_eq!(config.log.as_deref(), Some(Path::new("/x/ctr.log")));
        let labels = BTreeMap::from([("team".to_owned(), "front".to_owned())]);
        assert_eq!(config.labels().pairs, labels);
        let env = [("A", "b=c"), ("TERM", "xterm")];
        assert_eq!(
            config.env().pairs,
            env.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn what_is_missing_is_empty_and_what_is_no_configuration_is_an_error() {
        let config = Configured::parse(r#"{"labels":null,"logPath":"","spec":{}}"#).unwrap();
        assert_eq!(config.log, None);
        assert!(config.labels().pairs.is_empty() && config.env().pairs.is_empty());
        let odd = Configured::parse(r#"{"labels":[1],"spec":{"process":{"env":{}}}}"#).unwrap();
        assert!(odd.labels().pairs.is_empty() && odd.env().pairs.is_empty());
        assert!(Configured::parse("{").is_err());
        assert!(Configured::parse(r#"{"name":1}"#).is_err());
    }
}
