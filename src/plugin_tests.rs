use super::*;
use std::sync::Mutex;

use crate::checkpoint::{ContainerId, Resume};
use crate::host::AppendRefused;

/// Keeps what it is told; answers appends as set.
#[derive(Default)]
struct Recorder {
    appended: Mutex<Vec<usize>>,
    log: Mutex<Vec<(Level, String)>>,
    refusing: std::sync::atomic::AtomicBool,
}

impl Host for Recorder {
    fn append(&self, _: Option<&str>, records: usize, _: &[u8]) -> Result<(), AppendRefused> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(AppendRefused);
        }
        self.appended.lock().unwrap().push(records);
        Ok(())
    }

    fn log(&self, level: Level, message: &str) {
        self.log.lock().unwrap().push((level, message.to_owned()));
    }
}

/// An instance whose reader does nothing, so that the test is the reader.
fn idle_plugin() -> Plugin {
    let config = Config::from_lookup(|_| None).unwrap();
    let exchange = Arc::new(Exchange::new(config.queue_limit, CheckpointStore::in_memory()).unwrap());
    Plugin { exchange, drain: Mutex::default(), reader: Mutex::new(None), config }
}

fn id() -> ContainerId {
    ContainerId::parse(&"c".repeat(64)).unwrap()
}

fn batch(records: usize, offset: u64) -> Batch {
    let resume = Resume { offset, ..Resume::default() };
    Batch {
        container: id(),
        tag: None,
        records,
        bytes: vec![0; records],
        source: None,
        progress: Progress::Advance([Some(resume), None]),
    }
}

fn saved_offset(plugin: &Plugin) -> Option<u64> {
    plugin.exchange.checkpoint.lock().unwrap().saved(&id()).map(|saved| saved[0].offset)
}

#[test]
fn the_checkpoint_moves_with_each_accepted_batch_and_not_before() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.queue.push(batch(3, 100));
    assert_eq!(saved_offset(&plugin), None);
    host.refusing.store(true, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), None);
    assert!(plugin.exchange.refused.load(Ordering::SeqCst), "the reader rings again for it");
    host.refusing.store(false, Ordering::SeqCst);
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(100));
    assert_eq!(*host.appended.lock().unwrap(), [3]);
    assert!(plugin.exchange.queue.is_empty());
}

#[test]
fn a_batch_without_records_moves_the_checkpoint_without_an_append() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.exchange.queue.push(batch(0, 7));
    plugin.drain(&host);
    assert_eq!(saved_offset(&plugin), Some(7));
    assert!(host.appended.lock().unwrap().is_empty());
}

#[test]
fn nothing_is_handed_over_while_paused() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    plugin.pause();
    plugin.exchange.queue.push(batch(3, 100));
    plugin.drain(&host);
    assert!(host.appended.lock().unwrap().is_empty());
    plugin.resume();
    plugin.drain(&host);
    assert_eq!(*host.appended.lock().unwrap(), [3]);
}

#[test]
fn a_panic_of_the_reader_is_told_and_ends_the_instance_only() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    run_guarded(&plugin.exchange, || panic!("on purpose"));
    plugin.drain(&host);
    let log = host.log.lock().unwrap();
    assert!(log.iter().any(|(level, text)| *level == Level::Error && text.contains("on purpose")), "{log:?}");
    assert!(plugin.exchange.reader_ended.load(Ordering::SeqCst));
}

#[test]
fn the_host_gets_its_thread_back_after_a_bounded_drain() {
    let plugin = idle_plugin();
    let host = Recorder::default();
    for number in 0..4 {
        let mut large = batch(1, number);
        large.bytes = vec![0; DRAIN_BYTES / 2];
        plugin.exchange.queue.push(large);
    }
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 2);
    plugin.drain(&host);
    assert_eq!(host.appended.lock().unwrap().len(), 4);
}
