//! The batches that container_logs would hand over, kept for the floor.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fluent_bit_container_logs::config::Config;
use fluent_bit_container_logs::delivery::host::{AppendRefused, Host};
use fluent_bit_container_logs::plugin::Plugin;
use fluent_bit_container_logs::telemetry::event::Level;
use rustix::event::{poll, PollFd, PollFlags};

use crate::Failure;

/// As much as container_logs lets wait for the host.
const KEPT_BYTES: usize = 8 << 20;

/// Batches in a file, for the input that appends them in turn.
pub struct Ready {
    /// Records of each batch, in order.
    batches: Vec<u64>,
}

impl Ready {
    /// The most records that whole batches, taken in turn, give below `limit`.
    pub fn records_below(&self, limit: u64) -> u64 {
        let round: u64 = self.batches.iter().sum();
        if round == 0 {
            return 0;
        }
        let mut records = limit / round * round;
        for batch in &self.batches {
            if records + batch > limit {
                break;
            }
            records += batch;
        }
        records
    }
}

struct Keeper {
    file: RefCell<BufWriter<File>>,
    kept: RefCell<(usize, Vec<u64>)>,
}

impl Host for Keeper {
    fn append(&self, _: Option<&str>, records: usize, bytes: &[u8]) -> Result<(), AppendRefused> {
        let mut kept = self.kept.borrow_mut();
        if kept.0 >= KEPT_BYTES {
            return Err(AppendRefused);
        }
        let mut file = self.file.borrow_mut();
        for part in [
            &(records as u32).to_be_bytes()[..],
            &(bytes.len() as u32).to_be_bytes(),
            bytes,
        ] {
            file.write_all(part).map_err(|_| AppendRefused)?;
        }
        kept.0 += bytes.len();
        kept.1.push(records as u64);
        Ok(())
    }

    fn log(&self, _: Level, _: &str) {}
}

/// Reads the start of the logs of `root` through the library and keeps the
/// batches in `file`. `options` as in a configuration file.
pub fn ready_records(root: &Path, file: &Path, options: &[(&str, &str)]) -> Result<Ready, Failure> {
    let config = Config::from_lookup(|name| {
        let given = options
            .iter()
            .find(|(option, _)| option.eq_ignore_ascii_case(name));
        let given = given.map(|(_, value)| (*value).to_owned());
        given.or_else(|| match name {
            "Docker_Root" => Some(root.display().to_string()),
            // A log of fewer bytes than are kept ends.
            "Follow" => Some("off".to_owned()),
            _ => None,
        })
    })?;
    let keeper = Keeper {
        file: RefCell::new(BufWriter::new(File::create(file)?)),
        kept: RefCell::default(),
    };
    let plugin = Plugin::start(config)?;
    while keeper.kept.borrow().0 < KEPT_BYTES && !plugin.is_done() {
        poll(
            &mut [PollFd::from_borrowed_fd(plugin.host_fd(), PollFlags::IN)],
            None,
        )?;
        plugin.drain(&keeper);
    }
    plugin.stop(&keeper);
    keeper.file.borrow_mut().flush()?;
    Ok(Ready {
        batches: keeper.kept.take().1,
    })
}
