//! Podman's databases, SQLite and Bolt: any bytes are read within bounds of memory and time, and
//! what is told of a container is within the bounds of metadata.

#![no_main]

use fluent_bit_container_logs::runtime::bounds::{LONGEST_KEY, LONGEST_NAME, LONGEST_VALUE};
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::podman::Podman;
use fluent_bit_container_logs::runtime::safe_path::{Base, SafePath};
use fluent_bit_container_logs::runtime::{Found, Runtime};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let id = ContainerId::from_bytes([0xab; 32]);
    let origin = folder().join(format!("overlay-containers/{id}"));
    let dir = SafePath::below(&Base::of_machine(folder()), origin.join("userdata"));
    for path in ["db.sql", "libpod/bolt_state.db"] {
        let path = folder().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, data).expect("a file");
        let podman = Podman::new(folder());
        let found = Found::new(id, dir.clone(), origin.clone());
        let _ = podman.log_driver(&found);
        let _ = podman.logs(&found);
        if let Ok(metadata) = podman.metadata(&found, 0) {
            assert!(!metadata.name.is_empty() && metadata.name.len() <= LONGEST_NAME);
            assert!(metadata.image.len() <= LONGEST_NAME);
            for (key, value) in metadata
                .labels
                .iter()
                .chain(metadata.env.iter().map(|(key, value)| (key, value)))
            {
                assert!(key.len() <= LONGEST_KEY && value.len() <= LONGEST_VALUE);
            }
        }
        std::fs::remove_file(path).expect("the file");
    }
});
