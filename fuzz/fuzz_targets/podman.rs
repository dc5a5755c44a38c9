//! Podman's list of a storage's containers: total, and a returned name is the one in the list
//! for this container.
//!
//! The reader skips fields that it does not need, which another parser may reject (a lone
//! surrogate, a number out of range): only if that parser accepts the whole list must both
//! return the same. To reach this case, the input is also put into a well-formed list.

#![no_main]

use fluent_bit_container_logs::format::work;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::podman::Podman;
use fluent_bit_container_logs::runtime::safe_path::{Base, SafePath};
use fluent_bit_container_logs::runtime::{Found, Runtime};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};

fn id() -> ContainerId {
    ContainerId::from_bytes([0xab; 32])
}

/// Name and image as the reader returns them.
fn read(list: &[u8]) -> Option<(String, String)> {
    std::fs::write(folder().join("containers.json"), list).expect("a file");
    let origin = folder().join(id().to_string());
    let dir = SafePath::below(&Base::of_machine(folder()), origin.join("userdata"));
    let found = Found::new(id(), dir, origin);
    work::take();
    let read = Podman::new(folder()).metadata(&found, 0);
    assert!(
        work::take() <= list.len() as u64,
        "it was parsed more than once"
    );
    read.ok().map(|metadata| (metadata.name, metadata.image))
}

/// An entry may be a list of its values, without their keys.
fn field<'a>(value: &'a Value, key: &str, index: usize) -> &'a Value {
    value
        .get(key)
        .or_else(|| value.get(index))
        .unwrap_or(&Value::Null)
}

/// Name and image in the list for the container.
fn written(list: &[Value]) -> Option<(String, String)> {
    // Digits of either case make the same id.
    let is_ours = |entry: &&Value| {
        field(entry, "id", 0)
            .as_str()
            .and_then(ContainerId::parse)
            .is_some_and(|other| other == id())
    };
    let ours = list.iter().find(is_ours)?;
    let own = field(ours, "metadata", 2)
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let own = own.unwrap_or(Value::Null);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let first = field(ours, "names", 1).get(0).and_then(text);
    let name = first.or_else(|| text(field(&own, "name", 1)));
    let image = text(field(&own, "image-name", 0)).unwrap_or_default();
    Some((shown(name.unwrap_or_default()), image))
}

/// A container without a name has its id in place of it.
fn shown(name: String) -> String {
    match name.is_empty() {
        true => id().short(),
        false => name,
    }
}

/// Whether a field that should be a text has another type: the rest is not compared then.
fn is_odd(list: &[Value]) -> bool {
    list.iter().any(|entry| {
        let own = field(entry, "metadata", 2).as_str();
        own.is_some_and(|text| {
            serde_json::from_str::<Value>(text).is_ok_and(|own| {
                [field(&own, "name", 1), field(&own, "image-name", 0)]
                    .iter()
                    .any(|value| !value.is_string() && !value.is_null())
                    || text.matches("name").count() > 2
                    || text.contains('\\')
            }) || serde_json::from_str::<Value>(text).is_err()
        })
    })
}

fuzz_target!(|data: &[u8]| {
    let told = read(data);
    if let (Some(told), Ok(list)) = (told, serde_json::from_slice::<Vec<Value>>(data)) {
        if !is_odd(&list) {
            assert_eq!(Some(told), written(&list));
        }
    }

    let text = String::from_utf8_lossy(data);
    let (name, image) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let noise = serde_json::from_slice::<Value>(data).unwrap_or_else(|_| json!(text));
    let own = json!({ "image-name": image, "name": "before", "noise": noise }).to_string();
    let list = json!([
        { "id": "cd".repeat(32), "names": [image], "noise": noise },
        { "noise": noise, "id": id().to_string(), "names": [name, noise], "metadata": own },
    ]);
    let told = read(list.to_string().as_bytes()).expect("a list as Podman writes it");
    // The first of the names counts; the metadata keep the one from before a rename.
    assert_eq!(told, (shown(name.to_owned()), image.to_owned()));
    let without = json!([{ "id": id().to_string(), "names": [name, image], "noise": noise }]);
    let told = read(without.to_string().as_bytes()).expect("a list as Podman writes it");
    assert_eq!(told, (shown(name.to_owned()), String::new()));
});
