//! A real containerd, asked as the kubelet asks it: what its CRI plugin writes, over the
//! kubelet's rotations.

use test_kit::collector::{Collector, PATIENCE};
use test_kit::containerd::Containerd;
use test_kit::pod_root::PodRoot;
use test_kit::writer::{
    assert_lines, interleaved, numbered_slowly, of_lengths, Stream, EDGE_LENGTHS,
};
use test_kit::{skip, wait_until};

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
