//! Histories that once failed, shrunk to what made them fail.

use super::history::play;
use super::plan::{Action, Format, Plan, Settings, SingleFile};

const PLAIN: Settings = Settings {
    format: Format::Json,
    max_file: 1,
    compress: false,
    by_logrotate: false,
    is_dated: false,
    by_hand: false,
    names_early: false,
    is_stale: false,
    single: SingleFile::Unlink,
    small_queue: false,
    by_stream: false,
    holds_lines: false,
    is_closed: false,
    containers: 1,
};

#[track_caller]
fn passes(settings: Settings, actions: &[Action]) {
    let plan = Plan {
        settings,
        actions: actions.to_vec(),
    };
    if let Err(problem) = play(&plan) {
        panic!("{problem}\n  {plan}");
    }
}

const WRITE: Action = Action::Write {
    c: 0,
    stream: 0,
    lines: 1,
};
const ROTATE: Action = Action::Rotate { c: 0, steps: 0 };

#[test]
fn a_log_that_is_made_in_a_folder_that_had_none_is_read() {
    let settings = Settings {
        format: Format::Local,
        by_hand: true,
        ..PLAIN
    };
    passes(
        settings,
        &[
            Action::Unlink { c: 0 },
            Action::Turn { count: 1 },
            ROTATE,
            WRITE,
        ],
    );
}

#[test]
fn a_folder_that_was_away_is_read_on() {
    // Idle for so long that it is watched.
    let idle = [
        Action::Settle,
        Action::Settle,
        Action::Settle,
        Action::Settle,
    ];
    let actions = [WRITE, ROTATE, Action::Away { c: 0, turns: 1 }, WRITE];
    passes(PLAIN, &[&[WRITE], &idle[..], &actions].concat());
}

#[test]
fn an_archive_that_was_read_is_not_read_again_because_the_next_file_was_not_begun() {
    let actions = [
        WRITE,
        Action::Rotate { c: 0, steps: 7 },
        Action::Run { count: 1 },
        Action::Turn { count: 1 },
        WRITE,
        Action::KillInAppend { after: 0 },
        Action::Rotate { c: 0, steps: 7 },
        Action::Rotate { c: 0, steps: 5 },
    ];
    passes(
        Settings {
            format: Format::Pod,
            max_file: 4,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

#[test]
fn a_position_before_half_an_entry_is_found_in_no_other_file() {
    let settings = Settings {
        single: SingleFile::Rename,
        ..PLAIN
    };
    let actions = [
        WRITE,
        ROTATE,
        WRITE,
        ROTATE,
        Action::Half {
            c: 0,
            stream: 0,
            cut: 30,
        },
        Action::Run { count: 2 },
        ROTATE,
        WRITE,
        ROTATE,
        Action::Kill,
        WRITE,
    ];
    passes(settings, &actions);
}

#[test]
fn a_stream_that_was_further_than_the_other_is_not_read_again_before_that() {
    let actions = [
        WRITE,
        Action::Piece { c: 0, stream: 1 },
        ROTATE,
        Action::Piece { c: 0, stream: 0 },
        Action::Settle,
        Action::Rotate { c: 0, steps: 3 },
        Action::Kill,
    ];
    passes(
        Settings {
            max_file: 3,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

#[test]
fn an_archive_of_unknown_age_is_not_read_again_because_the_next_file_began_with_a_long_line() {
    let run = Action::Run { count: 1 };
    let piece = Action::Piece { c: 0, stream: 0 };
    let packed = Action::Rotate { c: 0, steps: 3 };
    let actions = [
        ROTATE,
        WRITE,
        run.clone(),
        ROTATE,
        piece,
        run,
        packed,
        Action::Kill,
    ];
    passes(
        Settings {
            max_file: 5,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

/// An archive is younger than the file that is written meanwhile. Its birth says nothing
/// of which of two positions was first.
#[test]
fn a_file_after_an_archive_that_is_younger_is_read_when_that_is_gone() {
    let piece = |stream| Action::Piece { c: 0, stream };
    let packed = Action::Rotate { c: 0, steps: 3 };
    let actions = [
        Action::Stop,
        piece(0),
        packed.clone(),
        piece(1),
        Action::Start,
        Action::Run { count: 3 },
        Action::Stop,
        Action::Write {
            c: 0,
            stream: 0,
            lines: 6,
        },
        packed,
    ];
    passes(
        Settings {
            max_file: 2,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

#[test]
fn an_archive_that_was_read_is_not_read_again_because_an_older_one_does_not_tell_its_age() {
    let actions = [
        ROTATE,
        WRITE,
        ROTATE,
        Action::Turn { count: 1 },
        Action::Away { c: 0, turns: 1 },
        Action::Stop,
        Action::Rotate { c: 0, steps: 3 },
    ];
    passes(
        Settings {
            max_file: 4,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

const COPIED: Action = Action::CopyTruncate {
    c: 0,
    looks: true,
    late: true,
};
const COPIES: Settings = Settings {
    format: Format::Podman,
    by_logrotate: true,
    ..PLAIN
};

#[test]
fn a_copy_that_ends_at_the_position_is_not_read_again() {
    let settings = Settings {
        holds_lines: true,
        ..COPIES
    };
    let half = Action::Half {
        c: 0,
        stream: 0,
        cut: 0,
    };
    let actions = [
        half,
        COPIED,
        Action::KillInAppend { after: 1 },
        WRITE,
        WRITE,
    ];
    passes(settings.clone(), &actions);
    let two = |c| Action::Write {
        c,
        stream: 0,
        lines: 2,
    };
    let actions = [
        two(0),
        two(1),
        COPIED,
        Action::KillInAppend { after: 3 },
        WRITE,
    ];
    passes(
        Settings {
            containers: 2,
            ..settings
        },
        &actions,
    );
}

/// One stream's position is behind the truncation, the other's is in what was truncated.
#[test]
fn a_copy_without_the_last_line_before_a_position_is_not_read_again() {
    for is_stale in [true, false] {
        for by_stream in [true, false] {
            for after in 0..4 {
                let actions = [
                    Action::CopyTruncate {
                        c: 0,
                        looks: false,
                        late: false,
                    },
                    Action::Write {
                        c: 0,
                        stream: 0,
                        lines: 1,
                    },
                    Action::Write {
                        c: 0,
                        stream: 1,
                        lines: 1,
                    },
                    Action::Settle,
                    Action::KillInAppend { after },
                    COPIED,
                    Action::Write {
                        c: 0,
                        stream: 0,
                        lines: 1,
                    },
                    Action::Write {
                        c: 0,
                        stream: 1,
                        lines: 1,
                    },
                    // Of a writer without O_APPEND this one begins with a hole.
                    Action::KillInAppend { after },
                    COPIED,
                    Action::Write {
                        c: 0,
                        stream: 1,
                        lines: 1,
                    },
                ];
                passes(
                    Settings {
                        is_stale,
                        by_stream,
                        ..COPIES
                    },
                    &actions,
                );
            }
        }
    }
}

/// Its first piece was delivered alone when the folder was away, and has the same time.
#[test]
fn the_rest_of_a_line_in_an_archive_is_read_though_its_time_was_taken() {
    let actions = [
        Action::Run { count: 1 },
        Action::Piece { c: 0, stream: 0 },
        ROTATE,
        WRITE,
        Action::Rotate { c: 0, steps: 3 },
        Action::Away { c: 0, turns: 1 },
    ];
    passes(
        Settings {
            max_file: 2,
            compress: true,
            ..PLAIN
        },
        &actions,
    );
}

/// Its first piece was delivered alone when the log was truncated, and has the same time.
#[test]
fn the_rest_of_a_line_in_a_copy_is_read_though_its_time_was_taken() {
    let actions = [
        Action::Piece { c: 0, stream: 1 },
        COPIED,
        Action::Run { count: 1 },
        Action::Torn {
            c: 0,
            stream: 0,
            cut: 0,
        },
        Action::CopyTruncate {
            c: 0,
            looks: false,
            late: false,
        },
        Action::Stop,
        WRITE,
    ];
    passes(
        Settings {
            format: Format::Json,
            ..COPIES
        },
        &actions,
    );
}

#[test]
fn a_copy_that_is_made_while_older_ones_are_read_is_read_too() {
    let copied = |looks| Action::CopyTruncate {
        c: 0,
        looks,
        late: false,
    };
    let actions = [
        Action::Stop,
        WRITE,
        copied(false),
        WRITE,
        copied(false),
        WRITE,
        Action::Start,
        copied(false),
        Action::Tail { c: 0, stream: 0 },
        copied(true),
    ];
    passes(
        Settings {
            format: Format::Json,
            ..COPIES
        },
        &actions,
    );
}

/// Nobody has seen that there was anything in it but the one who met the copy.
#[test]
fn a_copy_of_a_log_that_was_written_and_emptied_under_a_full_queue_is_read() {
    let copied = |c, late| Action::CopyTruncate {
        c,
        looks: true,
        late,
    };
    let actions = [
        Action::Write {
            c: 1,
            stream: 0,
            lines: 392,
        },
        copied(1, true),
        WRITE,
        copied(0, false),
    ];
    passes(
        Settings {
            format: Format::Json,
            small_queue: true,
            containers: 2,
            ..COPIES
        },
        &actions,
    );
}

#[test]
fn a_copy_of_a_piece_that_was_delivered_alone_is_not_read_again() {
    let copied = |looks| Action::CopyTruncate {
        c: 0,
        looks,
        late: looks,
    };
    let actions = [
        Action::Abandon { c: 0, stream: 1 },
        copied(false),
        copied(true),
        Action::Settle,
        Action::Kill,
        Action::Start,
        copied(true),
    ];
    passes(
        Settings {
            format: Format::Json,
            ..COPIES
        },
        &actions,
    );
}

#[test]
fn a_copy_of_a_piece_that_was_delivered_alone_is_not_read_again_after_a_stop() {
    let copied = |looks| Action::CopyTruncate {
        c: 0,
        looks,
        late: looks,
    };
    let actions = [
        Action::Write {
            c: 0,
            stream: 0,
            lines: 3,
        },
        Action::Piece { c: 0, stream: 1 },
        copied(false),
        copied(true),
        Action::Turn { count: 1 },
        Action::Drain,
        Action::Stop,
    ];
    passes(
        Settings {
            format: Format::Json,
            ..COPIES
        },
        &actions,
    );
}

/// One stream's position is behind the truncation, and the other's, in what was truncated, is
/// that of a piece that was delivered alone.
#[test]
fn a_copy_that_begins_with_a_hole_is_not_read_again_for_a_piece_that_was_delivered_alone() {
    for by_stream in [true, false] {
        for after in 0..6 {
            for stream in 0..2 {
                let actions = [
                    Action::Piece { c: 0, stream: 0 },
                    Action::CopyTruncate {
                        c: 0,
                        looks: false,
                        late: false,
                    },
                    Action::KillInAppend { after },
                    Action::Piece { c: 0, stream },
                    COPIED,
                ];
                passes(
                    Settings {
                        format: Format::Json,
                        is_stale: true,
                        by_stream,
                        ..COPIES
                    },
                    &actions,
                );
            }
        }
    }
}

/// All of them begin alike, and hold something else.
#[test]
fn a_copy_under_a_dated_name_that_begins_with_a_hole_is_read_again_after_a_power_cut() {
    let copied = Action::CopyTruncate {
        c: 0,
        looks: false,
        late: false,
    };
    let actions = [
        Action::Piece { c: 0, stream: 0 },
        copied.clone(),
        copied.clone(),
        copied,
        Action::PowerCut,
    ];
    for format in [Format::Json, Format::Podman] {
        let settings = Settings {
            format,
            is_stale: true,
            is_dated: true,
            ..COPIES
        };
        passes(settings, &actions);
    }
}

/// The file behind it was empty, and its archive does not tell that it is that file.
#[test]
fn an_archive_with_a_piece_that_was_delivered_alone_is_not_read_again() {
    for steps in 0..4 {
        for empty in 1..3 {
            let packed = Action::Rotate { c: 0, steps: 3 };
            let mut actions = vec![
                Action::Piece { c: 0, stream: 1 },
                Action::Rotate { c: 0, steps },
            ];
            actions.push(Action::Turn { count: 1 });
            actions.extend((0..empty).map(|_| packed.clone()));
            actions.push(Action::Away { c: 0, turns: 1 });
            actions.push(Action::Torn {
                c: 0,
                stream: 0,
                cut: 0,
            });
            passes(
                Settings {
                    max_file: 4,
                    compress: true,
                    ..PLAIN
                },
                &actions,
            );
        }
    }
}

/// The archive behind it is empty, and was begun when that was found out.
#[test]
fn a_piece_is_not_delivered_again_because_an_empty_archive_is_behind_it() {
    for steps in 0..4 {
        for read_between in [true, false] {
            let mut actions = vec![
                Action::Piece { c: 0, stream: 0 },
                Action::Rotate { c: 0, steps: 0 },
            ];
            if read_between {
                actions.push(Action::Run { count: 2 });
            }
            actions.push(Action::Rotate { c: 0, steps });
            actions.push(Action::Settle);
            actions.push(Action::Away { c: 0, turns: 1 });
            actions.push(WRITE);
            passes(
                Settings {
                    max_file: 3,
                    compress: true,
                    ..PLAIN
                },
                &actions,
            );
        }
    }
}

/// The second start knows no less than the first: its times alone tell that it was read.
#[test]
fn a_copy_that_was_passed_over_at_a_start_is_passed_over_at_the_next_one() {
    for looks in [true, false] {
        let copied = |c, looks| Action::CopyTruncate {
            c,
            looks,
            late: looks,
        };
        let write = Action::Write {
            c: 1,
            stream: 0,
            lines: 1,
        };
        let mut actions = vec![copied(1, false), write];
        if !looks {
            actions.push(Action::Settle);
        }
        actions.extend([
            copied(1, true),
            Action::Drain,
            Action::Stop,
            Action::Settle,
            Action::Stop,
        ]);
        passes(
            Settings {
                format: Format::Json,
                containers: 2,
                ..COPIES
            },
            &actions,
        );
    }
}

/// The runtime writes on to it; nothing but its age tells it from an empty copy.
#[test]
fn a_log_that_was_renamed_before_its_first_line_is_read() {
    for create in [false, true] {
        let settings = Settings {
            by_logrotate: true,
            is_dated: true,
            ..PLAIN
        };
        let rename = |create| Action::Rename { c: 0, create };
        let run = Action::Run { count: 1 };
        let actions = [WRITE, run, rename(false), Action::Reopen { c: 0 }];
        let rest = [rename(create), Action::Run { count: 1 }, WRITE];
        passes(settings, &[&actions[..], &rest].concat());
    }
}

/// What the first piece belongs to was truncated away with its end.
#[test]
fn a_line_behind_one_without_its_end_comes_whole_again_after_a_kill() {
    let settings = Settings {
        max_file: 3,
        by_hand: true,
        ..PLAIN
    };
    let piece = Action::Piece { c: 0, stream: 1 };
    let lines = Action::Write {
        c: 0,
        stream: 0,
        lines: 3,
    };
    let (truncate, kill) = (Action::Truncate { c: 0 }, Action::KillInAppend { after: 0 });
    let actions = [
        piece.clone(),
        ROTATE,
        lines.clone(),
        truncate,
        kill,
        piece,
        lines,
        WRITE,
        WRITE,
    ];
    passes(settings, &actions);
}

/// A log was truncated, and is empty, like those that were made after it.
#[test]
fn of_several_empty_files_each_may_be_written_and_none_hides_another() {
    let settings = Settings {
        by_logrotate: true,
        is_dated: true,
        ..PLAIN
    };
    let rename = |create| Action::Rename { c: 0, create };
    let copy = Action::CopyTruncate {
        c: 0,
        looks: true,
        late: false,
    };
    let begin = [WRITE, copy, rename(true)];
    for (reopen, create) in [(false, false), (false, true), (true, false), (true, true)] {
        let reopen: &[Action] = if reopen {
            &[Action::Reopen { c: 0 }]
        } else {
            &[]
        };
        let rest = [rename(create), Action::Run { count: 1 }, WRITE];
        passes(settings.clone(), &[&begin[..], reopen, &rest].concat());
    }
}
