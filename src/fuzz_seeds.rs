//! The inputs of the tests are the seeds of the fuzz targets: what a test
//! gives to [`keep`] is written below the folder that `FUZZ_SEEDS` names
//! (`scripts/fuzz` sets it and runs the tests), and nowhere else.

use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

/// Keeps `input` as a seed of a fuzz target, if seeds are wanted.
pub fn keep(target: &str, input: impl AsRef<[u8]>) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
        return;
    };
    let folder = PathBuf::from(folder).join(target);
    std::fs::create_dir_all(&folder).expect("the folder of the seeds");
    let name = format!("{:016x}", xxh3_64(input.as_ref()));
    std::fs::write(folder.join(name), input).expect("a seed");
}
