//! Histories that once failed, shrunk to what made them fail.

use super::history::play;
use super::plan::{Action, Format, Plan, Settings, SingleFile};

const PLAIN: Settings = Settings {
    format: Format::Json,
    max_file: 1,
    compress: false,
    by_logrotate: false,
    by_hand: false,
    names_early: false,
    is_stale: false,
    single: SingleFile::Unlink,
    small_queue: false,
    by_stream: false,
    holds_lines: false,
    containers: 1,
};

#[track_caller]
fn passes(settings: Settings, actions: &[Action]) {
    let plan = Plan { settings, actions: actions.to_vec() };
    if let Err(problem) = play(&plan) {
        panic!("{problem}\n  {plan}");
    }
}

const WRITE: Action = Action::Write { c: 0, stream: 0, lines: 1 };
const ROTATE: Action = Action::Rotate { c: 0, steps: 0 };

#[test]
fn a_log_that_is_made_in_a_folder_that_had_none_is_read() {
    let settings = Settings { format: Format::Local, by_hand: true, ..PLAIN };
    passes(settings, &[Action::Unlink { c: 0 }, Action::Turn { count: 1 }, ROTATE, WRITE]);
}

#[test]
fn a_folder_that_was_away_is_read_on() {
    // Idle for so long that it is watched.
    let idle = [Action::Settle, Action::Settle, Action::Settle, Action::Settle];
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
    passes(Settings { format: Format::Pod, max_file: 4, compress: true, ..PLAIN }, &actions);
}

#[test]
fn a_position_before_half_an_entry_is_found_in_no_other_file() {
    let settings = Settings { single: SingleFile::Rename, ..PLAIN };
    let actions = [
        WRITE,
        ROTATE,
        WRITE,
        ROTATE,
        Action::Half { c: 0, stream: 0, cut: 30 },
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
    passes(Settings { max_file: 3, compress: true, ..PLAIN }, &actions);
}

#[test]
fn an_archive_of_unknown_age_is_not_read_again_because_the_next_file_began_with_a_long_line() {
    let run = Action::Run { count: 1 };
    let piece = Action::Piece { c: 0, stream: 0 };
    let packed = Action::Rotate { c: 0, steps: 3 };
    let actions = [ROTATE, WRITE, run.clone(), ROTATE, piece, run, packed, Action::Kill];
    passes(Settings { max_file: 5, compress: true, ..PLAIN }, &actions);
}
