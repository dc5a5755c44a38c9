//! A real containerd, asked as the kubelet asks it: what its CRI plugin writes, over the
//! kubelet's rotations.

use std::sync::atomic::{AtomicBool, Ordering};

use fluent_bit_container_logs::runtime::nerdctl::Nerdctl;
use fluent_bit_container_logs::runtime::Runtime;
use test_kit::collector::{Collector, PATIENCE};
use test_kit::containerd::{Containerd, IMAGE};
use test_kit::nerdctl_root::NerdctlContainer;
use test_kit::pod_root::PodRoot;
use test_kit::writer::{
    assert_lines, interleaved, numbered_slowly, of_lengths, Stream, EDGE_LENGTHS,
};
use test_kit::{run, skip, wait_until};

const ROTATIONS: usize = 6;

#[test]
fn what_containerd_writes_over_the_kubelets_rotations_comes_once() {
    let test = "containerd::what_containerd_writes_over_the_kubelets_rotations_comes_once";
    let root = PodRoot::new();
    let mut log = root.container("shop", "web-1", "app");
    let script = numbered_slowly(Stream::Stdout, "line", 1500, "0.002")
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(interleaved(200));
    let started = Containerd::start().and_then(|containerd| {
        let folder = log.dir.parent().expect("a pod's folder");
        let pod = containerd.pod("web-1", folder)?;
        let id = containerd.start_container(&pod, 0, false, &script.sh)?;
        Ok((containerd, id))
    });
    let (containerd, id) = match started {
        Ok(started) => started,
        Err(reason) => return skip(test, &reason),
    };
    let collector = Collector::start(root.path(), &[("Runtime", "cri")]);
    for rotation in 1..=ROTATIONS {
        collector.wait("more lines", |collector| collector.count() > rotation * 200);
        log.rotate();
        containerd.reopen_log(&id).expect("it is opened anew");
        wait_until(PATIENCE, "the new file", || log.log().exists());
    }
    let all = script.of(Stream::Stdout).len() + script.of(Stream::Stderr).len();
    collector.wait("all lines", |collector| collector.count() >= all);
    let (records, messages) = collector.stop();
    for stream in [Stream::Stdout, Stream::Stderr] {
        let expected = script.of(stream);
        let ours = records
            .iter()
            .filter(|record| record.text("stream") == stream.name());
        let got: Vec<&str> = ours.map(|record| record.text("log")).collect();
        assert_lines(&format!("{}: {messages:?}", stream.name()), &got, &expected);
    }
}

/// Image and labels of a container that nerdctl would have made, while containerd commits one
/// transaction after the other: each is read whole, and containerd waits for none of it.
#[test]
fn image_and_labels_are_read_whole_while_containerd_writes() {
    let test = "containerd::image_and_labels_are_read_whole_while_containerd_writes";
    let id = "a".repeat(64);
    let label = |number: usize| [format!("one={number}"), format!("other={number}")];
    let project = "com.docker.compose.project=shop";
    let started = Containerd::start().and_then(|containerd| {
        let [one, other] = label(0);
        containerd.create("shop", &id, &[&one, &other, project])?;
        Ok(containerd)
    });
    let containerd = match started {
        Ok(containerd) => containerd,
        Err(reason) => return skip(test, &reason),
    };
    let root = containerd.path().join("nerdctl");
    NerdctlContainer::with(&root, "shop", 'a', "web", "json-file", &[]);
    let nerdctl = Nerdctl::new(&root);
    let listing = nerdctl.list(&root).expect("a data root");
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    let found = &listing.containers[0];
    let has_ended = AtomicBool::new(false);
    let mut versions = std::collections::BTreeSet::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writes = (1..=40).map(|number| {
                let mut write = containerd.ctr_of("shop");
                write.args(["containers", "label", &id]).args(label(number));
                run(&mut write)
            });
            let failed: Vec<_> = writes.filter_map(Result::err).collect();
            has_ended.store(true, Ordering::Release);
            assert!(failed.is_empty(), "{failed:?}");
        });
        while !has_ended.load(Ordering::Acquire) {
            let metadata = nerdctl.metadata(found, 0).expect("it has a name");
            if metadata.is_partial {
                continue;
            }
            let label = |key: &str| metadata.labels.get(key).cloned().unwrap_or_default();
            assert_eq!(
                (&*metadata.image, &*label("com.docker.compose.project")),
                (IMAGE, "shop")
            );
            assert_eq!(label("one"), label("other"));
            versions.insert(label("one"));
        }
    });
    assert!(versions.len() > 5, "{versions:?}");
    let last = nerdctl.metadata(found, 0).expect("it has a name");
    assert_eq!(last.labels["one"], "40");
}
