//! A checkpoint that a release wrote is continued. `released_checkpoint/` has its bytes, as 0.1.0
//! at commit 01f69d0 wrote them, and the logs as they stand after it: each has grown, and one was rotated twice, so that its
//! position is in an archive. The copies have other inodes and other birth times than the
//! release knew, so each position is found by the content of its file.

use std::path::{Path, PathBuf};

use fluent_bit_container_logs::telemetry::event::Level;

use test_kit::collector::Collector;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::pod_root::{PodRoot, PodWriter};

struct Logs {
    docker: DockerRoot,
    pods: PodRoot,
    web: LogWriter,
    shop: LogWriter,
    app: PodWriter,
}

impl Logs {
    fn empty() -> Logs {
        let (docker, pods) = (DockerRoot::new(), PodRoot::new());
        Logs {
            web: docker.container('a', "web"),
            shop: docker.container('b', "shop"),
            app: pods.container("shop", "app-1", "app"),
            docker,
            pods,
        }
    }

    /// Each file of the sample, and its place.
    fn files(&self) -> [(&'static str, PathBuf); 6] {
        let rotated = |suffix: &str| PathBuf::from(format!("{}{suffix}", self.shop.log.display()));
        [
            ("positions.db", self.db()),
            ("web.log", self.web.log.clone()),
            ("shop.log", self.shop.log.clone()),
            ("shop.log.1.gz", rotated(".1.gz")),
            ("shop.log.2.gz", rotated(".2.gz")),
            ("app.log", self.app.log()),
        ]
    }

    fn db(&self) -> PathBuf {
        self.docker.path().join("positions.db")
    }

    fn collect(&self) -> Collector {
        let text = |path: &Path| path.display().to_string();
        let (db, pods) = (text(&self.db()), text(&self.pods.pods()));
        let options = [
            ("Runtime", "auto"),
            ("Docker_Socket", "off"),
            ("DB", &*db),
            ("Pod_Logs", &*pods),
        ];
        Collector::start(self.docker.path(), &options)
    }
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/files/released_checkpoint")
        .join(name)
}

/// Half of a line had come on stdout, and the whole of one behind it on stderr: the two
/// streams of `web` have positions of their own.
#[test]
fn a_checkpoint_of_a_release_is_continued_and_nothing_is_repeated() {
    let logs = Logs::empty();
    for (name, place) in logs.files() {
        std::fs::copy(sample(name), place).expect("a file of the sample");
    }
    let rest = |name: &'static str| (20..30).map(move |number| format!("{name} {number}"));
    let joined = "half of a line, and the other half".to_owned();
    let collector = logs.collect();
    collector.wait_texts(32);
    for (id, stream, expected) in [
        (
            &logs.web.id,
            "stdout",
            std::iter::once(joined).chain(rest("web")).collect(),
        ),
        (&logs.web.id, "stderr", vec!["another error".to_owned()]),
        (&logs.shop.id, "stdout", rest("shop").collect()),
        (&logs.app.id(), "stdout", rest("app").collect()),
    ] {
        assert_eq!(collector.texts_of(id, stream), expected);
    }
    let said = collector.log();
    let troubles = said.iter().filter(|(level, _)| *level <= Level::Warn);
    assert_eq!(troubles.count(), 0, "{said:?}");
    assert_eq!(collector.stop().0.len(), 32);
}
