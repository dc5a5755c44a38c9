//! File systems that do not answer, as those of the network when a server is gone.

use test_kit::docker_root::DockerRoot;
use test_kit::playing_host::{texts_of, PlayingHost, Release, PATIENCE};
use test_kit::stalling_fs::StallingFs;
use test_kit::{skip, wait_until};

fn lines(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

/// Two instances, one over a file system that stalls: the other delivers on, a hot
/// reload and the end of the host take their seconds and no more, and when the file
/// system answers again nothing was lost or repeated.
#[test]
fn a_file_system_that_does_not_answer_holds_up_its_own_instance_and_no_stop() {
    let test = "stalled::a_file_system_that_does_not_answer_holds_up_its_own_instance_and_no_stop";
    let (far, near) = (DockerRoot::new(), DockerRoot::new());
    let stalling = match StallingFs::over(far.path()) {
        Ok(stalling) => stalling,
        Err(reason) => return skip(test, &reason),
    };
    let mut far_log = far.container('a', "far");
    let mut near_log = near.container('b', "near");
    lines(0..10).iter().for_each(|line| far_log.line(line));
    let mut host = PlayingHost::start_by(stalling.starter(), Release::LATEST);
    let instance = |name: &str, root: &std::path::Path, db: &DockerRoot| {
        let db = db.path().join("positions.db");
        format!(
            "instance {name} docker_root=\"{}\" db=\"{}\" runtime=docker docker_socket=off rescan_interval=20ms",
            root.display(),
            db.display()
        )
    };
    host.ok(&instance("far", &stalling.path(), &far));
    host.ok(&instance("near", near.path(), &near));
    host.ok("init");
    host.run_until(10);

    stalling.stall();
    lines(10..20).iter().for_each(|line| far_log.line(line));
    stalling.wait_until_somebody_waits();
    lines(0..1000).iter().for_each(|line| near_log.line(line));
    host.run_until(1010);
    host.ok("reload");
    lines(1000..2000)
        .iter()
        .for_each(|line| near_log.line(line));
    host.run_until(2010);
    assert_eq!(texts_of(&host.frames(), "far"), lines(0..10));

    assert_eq!(
        host.log().matches("a file system does not respond").count(),
        1,
        "{}",
        host.log()
    );
    let at = "stopped without waiting for the reader thread, which is ";
    let told = host
        .log()
        .split_once(at)
        .map(|(_, told)| told.lines().next().unwrap_or_default().to_owned());
    let is_of_far = |told: &str| {
        told.contains("container far (aaaaaaaaaaaa)")
            || told.contains(&*stalling.path().to_string_lossy())
    };
    assert!(told.as_deref().is_some_and(is_of_far), "{told:?}");

    stalling.go_on();
    host.run_until(2020);
    let readers = |host: &mut PlayingHost| {
        host.threads()
            .iter()
            .filter(|thread| thread.starts_with("clogs-reader"))
            .count()
    };
    wait_until(PATIENCE, "the reader that was left behind is gone", || {
        readers(&mut host) == 2
    });
    lines(20..30).iter().for_each(|line| far_log.line(line));
    host.run_until(2030);
    stalling.stall();
    lines(30..40).iter().for_each(|line| far_log.line(line));
    stalling.wait_until_somebody_waits();
    // The answer comes while the reader still waits; the kernel keeps the process
    // until the file system lets go of it.
    host.send("exit");
    let answer = host.answer("exit");
    assert!(answer.starts_with("ok threads_left="), "{answer}");
    stalling.go_on();
    let frames = host.ended();
    assert_eq!(texts_of(&frames, "far"), lines(0..30));
    assert_eq!(texts_of(&frames, "near"), lines(0..2000));
}

/// The reader, which started the thread for the API, is left behind; that thread is not.
#[test]
fn a_reader_that_is_left_behind_leaves_no_thread_of_the_api_behind() {
    let test = "stalled::a_reader_that_is_left_behind_leaves_no_thread_of_the_api_behind";
    let far = DockerRoot::new();
    let stalling = match StallingFs::over(far.path()) {
        Ok(stalling) => stalling,
        Err(reason) => return skip(test, &reason),
    };
    let journald = far.created_container('a', "far");
    let driver = "{\"LogConfig\":{\"Type\":\"journald\",\"Config\":{}}}";
    std::fs::write(journald.dir.join("hostconfig.json"), driver).expect("the folder is ours");
    // An API that takes connections and never answers.
    let sockets = tempfile::tempdir().expect("a folder");
    let socket = sockets.path().join("docker.sock");
    let _api = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let mut host = PlayingHost::start_by(stalling.starter(), Release::LATEST);
    host.ok(&format!(
        "instance far docker_root=\"{}\" runtime=docker docker_socket=\"{}\" rescan_interval=20ms",
        stalling.path().display(),
        socket.display()
    ));
    host.ok("init");
    let count = |host: &mut PlayingHost, name: &str| {
        host.threads()
            .iter()
            .filter(|thread| thread.starts_with(name))
            .count()
    };
    wait_until(PATIENCE, "the thread for the API", || {
        count(&mut host, "clogs-docker") == 1
    });
    stalling.stall();
    stalling.wait_until_somebody_waits();
    host.ok("reload");
    assert_eq!(
        host.log().matches("a file system does not respond").count(),
        1,
        "{}",
        host.log()
    );
    assert_eq!(count(&mut host, "clogs-docker"), 0);
    let what = "the reader that is left behind, and the next one";
    wait_until(PATIENCE, what, || count(&mut host, "clogs-reader") == 2);
    stalling.go_on();
    wait_until(PATIENCE, "the reader that was left behind is gone", || {
        count(&mut host, "clogs-reader") == 1
    });
    host.exit().assert_clean();
}

/// The log's writer is another kernel, as behind NFS: inotify knows nothing of it.
#[test]
fn a_log_that_is_written_elsewhere_is_read_though_nobody_tells_of_it() {
    let test = "stalled::a_log_that_is_written_elsewhere_is_read_though_nobody_tells_of_it";
    let far = DockerRoot::new();
    let stalling = match StallingFs::over(far.path()) {
        Ok(stalling) => stalling,
        Err(reason) => return skip(test, &reason),
    };
    let mut log = far.container('a', "far");
    let mut host = PlayingHost::start_by(stalling.starter(), Release::LATEST);
    let root = stalling.path();
    host.ok(&format!(
        "instance far docker_root=\"{}\" runtime=docker docker_socket=off",
        root.display()
    ));
    host.ok("init");
    for (count, line) in (1..=5).zip(lines(0..5)) {
        log.line(&line);
        host.run_until(count);
        // Long enough for the log to be idle.
        host.run(300);
    }
    let exit = host.exit();
    exit.assert_clean();
    assert_eq!(texts_of(&exit.frames, "far"), lines(0..5));
}
