//! Decodes the answers to list and inspect requests: what is needed of them, and nothing else.
//! A value of an unexpected kind counts as missing. Pure.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::runtime::id::ContainerId;
use crate::runtime::log_driver::{LogDriver, JSON_FILE_DRIVER};
use crate::source::api::Inspected;

/// A container in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ContainerId,
    /// Whether it runs.
    pub running: bool,
}

/// The states in which a container has a process.
const RUNNING: [&str; 2] = ["running", "paused"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(default, deserialize_with = "lenient")]
    id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Inspection {
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    config: Option<Config>,
    #[serde(deserialize_with = "lenient")]
    host_config: Option<HostConfig>,
    #[serde(deserialize_with = "lenient")]
    state: Option<State>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    #[serde(deserialize_with = "lenient")]
    image: Option<String>,
    #[serde(deserialize_with = "lenient")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "lenient")]
    env: Option<Vec<String>>,
    #[serde(deserialize_with = "lenient")]
    tty: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(deserialize_with = "lenient")]
    log_config: Option<LogConfig>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct LogConfig {
    #[serde(deserialize_with = "lenient")]
    r#type: Option<String>,
    #[serde(deserialize_with = "lenient")]
    config: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    #[serde(deserialize_with = "lenient")]
    running: Option<bool>,
}

/// A value, or `None` for one of another kind.
fn lenient<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value<T> {
        Expected(T),
        Other(IgnoredAny),
    }
    Ok(match Value::deserialize(deserializer)? {
        Value::Expected(value) => Some(value),
        Value::Other(_) => None,
    })
}

/// Decodes a list. What has no id of a container is left out.
pub fn listed(answer: &[u8]) -> Result<Vec<Listed>, serde_json::Error> {
    let summaries: Vec<Summary> = serde_json::from_slice(answer)?;
    let listed = summaries.into_iter().filter_map(|summary| {
        Some(Listed {
            id: ContainerId::parse(&summary.id?)?,
            running: summary
                .state
                .is_some_and(|state| RUNNING.contains(&state.as_str())),
        })
    });
    Ok(listed.collect())
}

/// Decodes an inspection.
pub fn inspected(answer: &[u8]) -> Result<Inspected, serde_json::Error> {
    let inspection: Inspection = serde_json::from_slice(answer)?;
    let name = inspection.name.unwrap_or_default();
    let config = inspection.config.unwrap_or_default();
    let host = inspection.host_config.unwrap_or_default();
    let log = host.log_config.unwrap_or_default();
    let options = log.config.unwrap_or_default();
    let max_size = options.get("max-size").map(String::as_str);
    let driver = LogDriver {
        name: log.r#type.unwrap_or_default(),
        has_cache_disabled: options
            .get("cache-disabled")
            .is_some_and(|value| value == "true"),
    };
    let state = inspection.state.unwrap_or_default();
    Ok(Inspected {
        name: name.strip_prefix('/').unwrap_or(&name).to_owned(),
        image: config.image.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        labels: config.labels.unwrap_or_default(),
        tty: config.tty.unwrap_or_default(),
        running: state.running.unwrap_or_default(),
        log_rotates: rotates(&driver, max_size),
        log_driver: driver.name,
    })
}

/// Whether a log of this driver rotates. If a driver cannot be read back, Docker keeps a cache
/// of its log, which rotates as `local` does.
fn rotates(driver: &LogDriver, max_size: Option<&str>) -> bool {
    match driver.name.as_str() {
        JSON_FILE_DRIVER => max_size.is_some_and(|size| size != "-1"),
        "" => false,
        name => (name == "local" || driver.may_have_cache()) && max_size != Some("-1"),
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
            ("none", None, false),
            ("k8s-file", Some("10m"), false),
            ("passthrough", None, false),
            ("passthrough-tty", None, false),
            ("", None, false),
        ] {
            let mut driver = LogDriver {
                name: driver.to_owned(),
                has_cache_disabled: false,
            };
            assert_eq!(
                rotates(&driver, max_size),
                expected,
                "{driver:?} {max_size:?}"
            );
            driver.has_cache_disabled = true;
            let expected = expected && ["json-file", "local"].contains(&driver.name.as_str());
            assert_eq!(
                rotates(&driver, max_size),
                expected,
                "{driver:?} {max_size:?}"
            );
        }
    }

    /// `stopped` is a state of Podman 5 that Docker does not have.
    #[test]
    fn a_state_that_is_unknown_here_hides_no_container() {
        let id = |digit: &str| digit.repeat(64);
        let answer = serde_json::json!([
            {"Id": id("a"), "State": "stopped", "Health": {"Status": 7}, "Labels": null},
            {"Id": id("b"), "State": {"of": "another kind"}, "Ports": "none"},
            {"Id": id("c"), "State": "running", "Created": "2026-11-26T00:00:00Z"},
            {"Id": id("d"), "State": "paused"},
            {"Id": "not an id", "State": "running"},
            {"State": "running"},
        ]);
        let listed = listed(answer.to_string().as_bytes()).unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|it| (it.id.to_string(), it.running))
            .collect();
        let expected = [("a", false), ("b", false), ("c", true), ("d", true)];
        assert_eq!(listed, expected.map(|(digit, runs)| (id(digit), runs)));
    }

    #[test]
    fn an_inspection_is_decoded_as_far_as_it_can_be() {
        let answer = serde_json::json!({
            "Name": "/web",
            "State": {"Status": "stopped", "Running": true, "Health": []},
            "Config": {"Image": "shop/web:1", "Labels": {"a": "b"}, "Env": null, "Tty": true},
            "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}}},
            "GraphDriver": 7,
        });
        let container = inspected(answer.to_string().as_bytes()).unwrap();
        let expected = Inspected {
            name: "web".to_owned(),
            image: "shop/web:1".to_owned(),
            labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            env: Vec::new(),
            tty: true,
            running: true,
            log_rotates: true,
            log_driver: "json-file".to_owned(),
        };
        assert_eq!(container, expected);
        let odd = serde_json::json!({"Name": ["x"], "Config": {"Labels": {"a": 7}}, "State": 1});
        let odd = inspected(odd.to_string().as_bytes()).unwrap();
        assert_eq!((odd.name.as_str(), odd.labels.len()), ("", 0));
        assert!(inspected(b"<html>").is_err());
    }
}
