//! Docker's metadata files: up to the first NUL `config.v2.json`, after it
//! `hostconfig.json`. Total, and every value returned is in the file.

#![no_main]

use fluent_bit_container_logs::runtime::docker::{
    read_log_driver, read_metadata, CONFIG_FILE, HOST_CONFIG_FILE,
};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::Found;
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let split = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (config, host_config) = (&data[..split], data.get(split + 1..).unwrap_or_default());
    std::fs::write(folder().join(CONFIG_FILE), config).expect("a file");
    std::fs::write(folder().join(HOST_CONFIG_FILE), host_config).expect("a file");

    let id = ContainerId::from_bytes([0xab; 32]);
    let found = Found::new(id, folder().into(), folder().to_owned());
    if let (Ok(read), Ok(Value::Object(value))) =
        (read_metadata(&found), serde_json::from_slice(config))
    {
        let name = value["Name"].as_str().expect("a name");
        let name = name.strip_prefix('/').unwrap_or(name);
        // Below cri-dockerd the kubelet puts the container's name in the pod into it.
        match read.pod {
            None => assert_eq!(read.name, name),
            Some(_) => assert!(name.starts_with(&format!("k8s_{}_", read.name))),
        }
        let image = value
            .get("Config")
            .and_then(|config| config.get("Image"))
            .and_then(Value::as_str);
        assert_eq!(read.image, image.unwrap_or_default());
    }
    if let (Ok(read), Ok(Value::Object(value))) =
        (read_log_driver(&found), serde_json::from_slice(host_config))
    {
        let driver = value
            .get("LogConfig")
            .and_then(|config| config.get("Type"))
            .and_then(Value::as_str);
        assert_eq!(
            read.name,
            driver
                .filter(|name| !name.is_empty())
                .unwrap_or("json-file")
        );
        read.writes_file();
    }
});
