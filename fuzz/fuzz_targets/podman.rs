//! Podman's list of a storage's containers: total, and a name that is told is one that is
//! written there, for this container.

#![no_main]

use fluent_bit_container_logs::checkpoint::ContainerId;
use fluent_bit_container_logs::discover::podman::Podman;
use fluent_bit_container_logs::discover::{Found, Runtime};
use fluent_bit_container_logs::safe_path::{Base, SafePath};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let id = ContainerId::from_bytes([0xab; 32]);
    std::fs::write(folder().join("containers.json"), data).expect("a file");
    let origin = folder().join(id.to_string());
    let dir = SafePath::below(&Base::of_machine(folder()), origin.join("userdata"));
    let found = Found::new(id, dir, origin);
    let Ok(read) = Podman::new(folder()).metadata(&found, 0) else { return };
    let listed: Vec<Value> = serde_json::from_slice(data).expect("it was understood");
    // An entry may be a list of its values, without their keys.
    let Some(ours) = listed.iter().find(|container| container["id"] == id.to_string()) else { return };
    let names = ours["names"].as_array().cloned().unwrap_or_default();
    let own = ours["metadata"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let is_in_metadata = own.is_some_and(|own| own["name"] == read.name);
    let is_first = names.first().is_some_and(|first| *first == read.name);
    assert!(is_in_metadata || is_first || read.name == id.short(), "{}", read.name);
});
