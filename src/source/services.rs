//! What the reader lends to a container for a look or a read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::delivery::link::Link;
use crate::runtime::own_container::OwnContainer;
use crate::runtime::Api;
use crate::source::api::streams::{Streams, StreamsByApi};
use crate::source::journal::shared::SharedJournal;
use crate::source::watch::FileWatch;

/// What all containers of a reader share.
pub struct Services {
    /// Receives batches and events.
    pub link: Arc<Link>,
    /// The configuration.
    pub config: Config,
    /// The container that this process runs in.
    pub own: OwnContainer,
    /// The containers read through an API.
    pub streams: StreamsByApi,
    /// systemd's journal.
    pub journal: SharedJournal,
    /// The watches on folders and files.
    pub watch: FileWatch,
}

impl Services {
    /// Nothing is connected or watched yet.
    pub fn new(link: Arc<Link>, config: Config) -> Services {
        let journal = SharedJournal::new(&config.journal);
        let streams = StreamsByApi::new(&link, &config);
        let own = if config.exclude_self {
            OwnContainer::find()
        } else {
            OwnContainer::default()
        };
        Services {
            link,
            config,
            own,
            streams,
            journal,
            watch: FileWatch::default(),
        }
    }

    /// As [`Surroundings::report_refused_watch`].
    pub fn report_refused_watch(&mut self, path: PathBuf, reason: String) {
        self.watch
            .report_refusal(&self.link, &self.config, path, reason);
    }

    /// What the container with this key and API needs now; `cycle` is the interval between two
    /// reads of the active logs.
    pub fn around(
        &mut self,
        key: usize,
        api: Option<Api>,
        now: Instant,
        cycle: Duration,
    ) -> Surroundings<'_> {
        Surroundings {
            link: &self.link,
            config: &self.config,
            own: &self.own,
            streams: api.and_then(|api| self.streams.of(api)),
            journal: &mut self.journal,
            watch: &mut self.watch,
            key,
            now,
            cycle,
        }
    }
}

/// What the reader lends to one container.
pub struct Surroundings<'a> {
    /// Receives events.
    pub link: &'a Link,
    /// The configuration.
    pub config: &'a Config,
    /// The container that this process runs in.
    pub own: &'a OwnContainer,
    /// The containers read through this one's API; `None` if the API is off.
    pub streams: Option<&'a mut Streams>,
    /// systemd's journal.
    pub journal: &'a mut SharedJournal,
    /// The watches on folders and files.
    pub watch: &'a mut FileWatch,
    /// The container's key in the watch.
    pub key: usize,
    /// The current time.
    pub now: Instant,
    /// Interval between two reads of the active logs.
    pub cycle: Duration,
}

impl Surroundings<'_> {
    /// Reports a refused watch; only the first one is reported.
    pub fn report_refused_watch(&mut self, path: PathBuf, reason: String) {
        self.watch
            .report_refusal(self.link, self.config, path, reason);
    }
}
