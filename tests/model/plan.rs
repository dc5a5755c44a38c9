//! What a history is made of: who writes in which way, and what happens.

use proptest::collection::vec;
use proptest::prelude::*;

/// How a container's log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Driver json-file.
    Json,
    /// Driver local.
    Local,
    /// A pod's container below containerd; the kubelet rotates.
    Pod,
    /// Podman's, by conmon, which rotates.
    Podman,
}

impl Format {
    /// Whether a tag says of each piece whether more of its line follows.
    pub fn is_tagged(self) -> bool {
        matches!(self, Format::Pod | Format::Podman)
    }
}

/// What dockerd does at `max-file=1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleFile {
    /// Until 19.03: the file is truncated in place.
    Truncate,
    /// 20.10: it becomes `.1`, which nobody reads.
    Rename,
    /// From 23 on: it is unlinked and made anew.
    Unlink,
}

/// What stays the same through a history.
#[derive(Debug, Clone)]
pub struct Settings {
    pub format: Format,
    pub max_file: u32,
    pub compress: bool,
    /// Not dockerd rotates but logrotate; both at once is nobody's wish.
    pub by_logrotate: bool,
    /// With its option `dateext`: names that dockerd does not give.
    pub is_dated: bool,
    /// A user removes and truncates files.
    pub by_hand: bool,
    /// An old kubelet: an archive has its name before its end is written.
    pub names_early: bool,
    /// dockerd opened the log as after a rotation, without O_APPEND: when it is
    /// truncated, a hole of NULs comes before what is written next.
    pub is_stale: bool,
    pub single: SingleFile,
    /// `Queue_Limit` at its least, so that a burst fills it.
    pub small_queue: bool,
    /// A tag for each stream, so batches of one container may part.
    pub by_stream: bool,
    /// Each line waits for the next one of its stream, as it does where `Multiline` is
    /// an expression; each is a record all the same.
    pub holds_lines: bool,
    /// No descriptor is to spare: what was read to its end is closed at once.
    pub is_closed: bool,
    pub containers: usize,
}

/// One thing that happens. `c` says to which container.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Whole lines; the first one ends what is open on its stream.
    Write {
        c: usize,
        stream: usize,
        lines: usize,
    },
    /// A line of which so many thousandths are there; the next write completes it.
    Half {
        c: usize,
        stream: usize,
        cut: usize,
    },
    /// A line that is never completed, and others right behind it.
    Torn {
        c: usize,
        stream: usize,
        cut: usize,
    },
    /// A piece of 16 KiB, of the open line or of a new one.
    Piece {
        c: usize,
        stream: usize,
    },
    /// The line that was open never ends; another begins with a piece.
    Abandon {
        c: usize,
        stream: usize,
    },
    /// The unterminated end of a stream.
    Tail {
        c: usize,
        stream: usize,
    },
    /// The runtime, or the kubelet, rotates, and does so many of the steps at once
    /// that a look may come between.
    Rotate {
        c: usize,
        steps: usize,
    },
    /// One step further: of dockerd's compression of `.1`, of the kubelet's rotation.
    Pack {
        c: usize,
        cut: usize,
    },
    /// dockerd, or the kubelet, dies and comes back: what it was at stays as it is.
    DaemonCrash {
        c: usize,
    },
    /// `truncate -s 0`.
    Truncate {
        c: usize,
    },
    /// logrotate's copytruncate; the reader may look while it is under way, and a
    /// line may come between the copy and the truncation.
    CopyTruncate {
        c: usize,
        looks: bool,
        late: bool,
    },
    /// logrotate without it: renamed, and a new file made, and nobody reopens.
    Rename {
        c: usize,
        create: bool,
    },
    /// `rm` of the current file.
    Unlink {
        c: usize,
    },
    /// The container is stopped and started again.
    Reopen {
        c: usize,
    },
    /// `docker rm`, and another container.
    Remove {
        c: usize,
    },
    /// The folder is away and comes back, as when the root is unmounted.
    Away {
        c: usize,
        turns: usize,
    },
    /// The clock of the records' times steps.
    ClockStep {
        seconds: i64,
    },
    /// The reader's cycle, so many times.
    Turn {
        count: usize,
    },
    /// The host's thread takes what is queued.
    Drain,
    /// Both, so many times.
    Run {
        count: usize,
    },
    /// Nothing happens for a while, and the reader turns.
    Idle {
        ms: u64,
    },
    Pause,
    StreamCheckpoint,
    Refuse {
        on: bool,
    },
    /// An orderly stop.
    Stop,
    /// A start, where it is not running.
    Start,
    /// SIGKILL between two calls of the host.
    Kill,
    /// SIGKILL inside one of the next appends, when the batch is in a chunk and
    /// the checkpoint has not moved.
    KillInAppend {
        after: usize,
    },
    /// The kernel writes the checkpoint to the disk.
    Sync,
    /// The machine loses its power: what the checkpoint was when it was last on the
    /// disk is what it is.
    PowerCut,
    /// Runs until all is read, and everything that is owed must be there.
    Settle,
}

/// A history.
#[derive(Debug, Clone)]
pub struct Plan {
    pub settings: Settings,
    pub actions: Vec<Action>,
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.settings)?;
        self.actions
            .iter()
            .try_for_each(|action| writeln!(f, "    {action:?}"))
    }
}

/// Any history.
pub fn plans() -> impl Strategy<Value = Plan> {
    (settings(), vec(action(), 1..50)).prop_map(|(settings, actions)| Plan { settings, actions })
}

fn settings() -> impl Strategy<Value = Settings> {
    let format = prop_oneof![
        5 => Just(Format::Json),
        2 => Just(Format::Local),
        3 => Just(Format::Pod),
        2 => Just(Format::Podman),
    ];
    let single = prop_oneof![
        Just(SingleFile::Unlink),
        Just(SingleFile::Rename),
        Just(SingleFile::Truncate)
    ];
    let by_logrotate = prop_oneof![3 => Just(false), 1 => Just(true)];
    let rotation = (
        1..6u32,
        any::<bool>(),
        single,
        by_logrotate,
        any::<bool>(),
        any::<bool>(),
    );
    let holds_lines = prop_oneof![3 => Just(false), 1 => Just(true)];
    let is_closed = prop_oneof![2 => Just(false), 1 => Just(true)];
    (
        format,
        rotation,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        1..3usize,
        holds_lines,
        is_closed,
    )
        .prop_map(
            |(
                format,
                (max_file, compress, single, by_logrotate, is_stale, by_hand),
                names_early,
                small_queue,
                by_stream,
                containers,
                holds_lines,
                is_closed,
            )| {
                let is_pod = format == Format::Pod;
                let by_logrotate = by_logrotate && !is_pod;
                Settings {
                    format,
                    max_file: if is_pod { max_file.max(2) } else { max_file },
                    compress: (compress && max_file > 1 && !by_logrotate && !format.is_tagged())
                        || is_pod,
                    by_logrotate,
                    is_dated: by_logrotate && names_early,
                    by_hand: by_hand && !by_logrotate,
                    names_early,
                    is_stale: is_stale && !is_pod,
                    single,
                    small_queue,
                    by_stream,
                    holds_lines,
                    is_closed,
                    containers,
                }
            },
        )
}

fn action() -> impl Strategy<Value = Action> {
    let c = || 0..2usize;
    let on = || (0..2usize, 0..2usize);
    let cut = || 0..1000usize;
    let lines = || prop_oneof![24 => 1..9usize, 1 => 300..600usize];
    let written = prop_oneof![
        10 => (on(), lines()).prop_map(|((c, stream), lines)| Action::Write { c, stream, lines }),
        2 => (on(), cut()).prop_map(|((c, stream), cut)| Action::Half { c, stream, cut }),
        1 => (on(), cut()).prop_map(|((c, stream), cut)| Action::Torn { c, stream, cut }),
        4 => on().prop_map(|(c, stream)| Action::Piece { c, stream }),
        1 => on().prop_map(|(c, stream)| Action::Abandon { c, stream }),
        1 => on().prop_map(|(c, stream)| Action::Tail { c, stream }),
    ];
    let moved = prop_oneof![
        6 => (c(), 0..8usize).prop_map(|(c, steps)| Action::Rotate { c, steps }),
        6 => (c(), cut()).prop_map(|(c, cut)| Action::Pack { c, cut }),
        1 => c().prop_map(|c| Action::DaemonCrash { c }),
        2 => c().prop_map(|c| Action::Truncate { c }),
        6 => (c(), any::<bool>(), any::<bool>())
            .prop_map(|(c, looks, late)| Action::CopyTruncate { c, looks, late }),
        3 => (c(), any::<bool>()).prop_map(|(c, create)| Action::Rename { c, create }),
        1 => c().prop_map(|c| Action::Unlink { c }),
        1 => c().prop_map(|c| Action::Reopen { c }),
        1 => c().prop_map(|c| Action::Remove { c }),
        1 => (c(), 0..4usize).prop_map(|(c, turns)| Action::Away { c, turns }),
        1 => (-100..100i64).prop_map(|seconds| Action::ClockStep { seconds }),
    ];
    let read = prop_oneof![
        5 => (1..4usize).prop_map(|count| Action::Turn { count }),
        3 => Just(Action::Drain),
        6 => (1..4usize).prop_map(|count| Action::Run { count }),
        2 => (1..3000u64).prop_map(|ms| Action::Idle { ms }),
        1 => Just(Action::Pause),
        1 => Just(Action::StreamCheckpoint),
        1 => any::<bool>().prop_map(|on| Action::Refuse { on }),
        2 => Just(Action::Stop),
        4 => Just(Action::Start),
        2 => Just(Action::Kill),
        1 => (0..4usize).prop_map(|after| Action::KillInAppend { after }),
        1 => Just(Action::Sync),
        1 => Just(Action::PowerCut),
        1 => Just(Action::Settle),
    ];
    prop_oneof![5 => written, 4 => moved, 6 => read]
}
