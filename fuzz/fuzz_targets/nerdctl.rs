//! nerdctl's files about a container: the configuration of its log, its specification, its name,
//! and containerd's database. Total, and every value returned is in the file and within bounds.

#![no_main]

use std::path::Path;

use fluent_bit_container_logs::runtime::bounds::{LONGEST_KEY, LONGEST_NAME, LONGEST_VALUE};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::nerdctl::Nerdctl;
use fluent_bit_container_logs::runtime::safe_path::{Base, SafePath};
use fluent_bit_container_logs::runtime::{Found, Runtime};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use serde_json::{json, Value};

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("folders");
    std::fs::write(path, bytes).expect("a file");
}

fuzz_target!(|data: &[u8]| {
    let id = ContainerId::from_bytes([0xab; 32]);
    let data_root = folder().join("nerdctl");
    let store = data_root.join("1935db59");
    let dir = store.join("containers/default").join(id.to_string());
    let base = Base::of_machine(folder());
    let found = Found::new(id, SafePath::below(&base, &*dir), dir.clone());
    let nerdctl = Nerdctl::new(&data_root);

    write(&dir.join("log-config.json"), data);
    let driver = nerdctl.log_driver(&found).ok().flatten();
    let read: Option<Value> = serde_json::from_slice(data).ok();
    if let (Some(driver), Some(Value::Object(read))) = (&driver, read) {
        assert_eq!(Some(&*driver.name), read["driver"].as_str());
    }
    assert_eq!(nerdctl.logs(&found).len(), 1);
    write(&store.join("names/default/web"), data);
    let _ = nerdctl.metadata(&found, 0);

    let state = folder().join("state");
    let address = state.join("containerd.sock").display().to_string();
    let config = json!({ "driver": "json-file", "address": address }).to_string();
    write(&dir.join("log-config.json"), config.as_bytes());
    write(&store.join("names/default/web"), id.to_string().as_bytes());
    // What was read before may be used again for a moment.
    let nerdctl = Nerdctl::new(&data_root);
    let task = state
        .join("io.containerd.runtime.v2.task/default")
        .join(id.to_string());
    write(&task.join("config.json"), data);
    let metadata = nerdctl.metadata(&found, 0).expect("it has a name");
    assert!(metadata.name == "web" && metadata.is_running);

    let database = "containerd/io.containerd.metadata.v1.bolt/meta.db";
    write(&folder().join(database), data);
    let nerdctl = Nerdctl::new(&data_root);
    let metadata = nerdctl.metadata(&found, 0).expect("it has a name");
    assert!(metadata.name == "web" && metadata.image.len() <= LONGEST_NAME);
    for (key, value) in &metadata.labels {
        assert!(key.len() <= LONGEST_KEY && value.len() <= LONGEST_VALUE);
    }
    let _ = nerdctl.list(&data_root);
    std::fs::remove_file(folder().join(database)).expect("the file");
});
