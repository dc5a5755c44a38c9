use ratatui::backend::TestBackend;
use ratatui::Terminal;

use super::*;
use crate::top::table::Origin;

fn container(name: &str, rate: f64) -> Row {
    Row {
        name: name.to_owned(),
        source: "json-file".to_owned(),
        rate,
        lines: 7,
        ..Row::default()
    }
}

fn table(rows: Vec<Row>) -> Table {
    Table {
        origin: Origin::Here,
        total: Row {
            name: Table::name_of_total(rows.len() as u64),
            ..Row::default()
        },
        rows,
        troubles: Vec::new(),
    }
}

/// With so many rows of so many columns, in the order of their numbers.
fn numbered(count: u32) -> Table {
    let rows = 0..count;
    table(
        rows.map(|number| container(&format!("c{number:03}"), f64::from(1_000 - number)))
            .collect(),
    )
}

fn view() -> View {
    View::new("top  every 1s".to_owned(), true)
}

/// The rows of the terminal as text.
fn picture(view: &mut View, table: &mut Table, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let frame = terminal
        .draw(|frame| view.draw(frame, table, None))
        .unwrap();
    let cells = frame.buffer.content.chunks(usize::from(width).max(1));
    let rows = cells.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.map(|row| row.trim_end().to_owned()).collect()
}

fn press(view: &mut View, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '⇟' => KeyCode::PageDown,
            '⇞' => KeyCode::PageUp,
            '⇱' => KeyCode::Home,
            '⇲' => KeyCode::End,
            key => KeyCode::Char(key),
        };
        view.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// The names that are shown.
fn names(view: &mut View, table: &mut Table) -> Vec<String> {
    let lines = picture(view, table, 100, 10);
    let names = lines
        .iter()
        .filter(|line| line.starts_with('c') && !line.contains("  every"));
    names.map(|line| line[..4].to_owned()).collect()
}

#[test]
fn title_heads_rows_sum_and_keys_have_their_places() {
    let mut table = table(vec![
        container("web", 3.0),
        Row {
            skipped: 1_500,
            ..container("torn", 0.5)
        },
    ]);
    table.troubles = vec!["logs: something is wrong".to_owned()];
    assert_eq!(
        picture(&mut view(), &mut table, 100, 9),
        [
            "top  every 1s  by losses",
            "logs: something is wrong",
            "CONTAINER              SOURCE     LINES/S  LINES  LAG  BEHIND  SKIPPED  CUT  ABANDONED",
            "torn                   json-file      0.5      7    -       -     1.5k    -          -",
            "web                    json-file      3.0      7    -       -        -    -          -",
            "total of 2 containers                   -      0    -       -        -    -          -",
            "",
            "",
            "q quit  ↑↓ PgUp PgDn Home End scroll  s sort  / filter",
        ]
    );
}

#[test]
fn every_row_can_be_reached_by_each_way_of_scrolling() {
    let all: Vec<String> = (0..40).map(|number| format!("c{number:03}")).collect();
    for (step, most) in [("↓", 40), ("⇟", 9), ("j", 40), (" ", 9)] {
        let (mut view, mut table) = (view(), numbered(40));
        let mut seen = names(&mut view, &mut table);
        assert_eq!(seen, all[..6], "{step}");
        for _ in 0..most {
            press(&mut view, step);
            for name in names(&mut view, &mut table) {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
        }
        assert_eq!(seen, all, "{step}");
        assert_eq!(
            names(&mut view, &mut table),
            all[34..],
            "the end is the end"
        );
    }
    let (mut view, mut table) = (view(), numbered(40));
    names(&mut view, &mut table);
    press(&mut view, "⇲");
    assert_eq!(names(&mut view, &mut table), all[34..]);
    assert!(picture(&mut view, &mut table, 100, 10)[0].ends_with("  rows 35-40 of 40"));
    press(&mut view, "↑");
    assert_eq!(names(&mut view, &mut table), all[33..39]);
    press(&mut view, "⇞");
    assert_eq!(names(&mut view, &mut table), all[27..33]);
    press(&mut view, "⇱");
    assert_eq!(names(&mut view, &mut table), all[..6]);
    // A table that has become shorter is not scrolled out of sight.
    press(&mut view, "⇲");
    assert_eq!(names(&mut view, &mut numbered(3)), all[..3]);
}

#[test]
fn the_filter_takes_keys_until_it_is_left() {
    let (mut view, mut table) = (view(), numbered(40));
    press(&mut view, "/C01");
    assert_eq!(names(&mut view, &mut table).len(), 6);
    assert!(picture(&mut view, &mut table, 100, 10)[0].contains("10 of 40 contain \"C01\""));
    press(&mut view, "5");
    assert_eq!(names(&mut view, &mut table), ["c015"]);
    press(&mut view, "\u{8}7\n");
    assert_eq!(names(&mut view, &mut table), ["c017"]);
    // Keys are commands again.
    assert_eq!(view.key(KeyEvent::from(KeyCode::Char('q'))), Reaction::Quit);
    press(&mut view, "/q");
    assert!(names(&mut view, &mut table).is_empty(), "q is text here");
    press(&mut view, "\u{1b}");
    assert_eq!(names(&mut view, &mut table).len(), 6);
}

#[test]
fn sorting_starts_at_the_top_and_ctrl_c_ends() {
    let (mut view, mut table) = (view(), numbered(40));
    names(&mut view, &mut table);
    press(&mut view, "⇲ssss");
    let lines = picture(&mut view, &mut table, 100, 10);
    assert!(lines[0].contains("by name"), "{lines:?}");
    assert!(lines[2].starts_with("c000"), "{lines:?}");
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(control_c), Reaction::Quit);
    press(&mut view, "/");
    assert_eq!(view.key(control_c), Reaction::Quit);
}

#[test]
fn every_size_shows_what_it_has_room_for() {
    let mut rows: Vec<Row> = (0..40)
        .map(|number| container(&format!("shop-web-backend-{number}"), f64::from(number)))
        .collect();
    rows.push(container("Zürich-漢字-\u{fffd}", 3.0));
    rows.push(container(&"long".repeat(30), 2.0));
    let mut table = table(rows);
    for width in [1, 5, 20, 40, 60, 79, 80, 100, 300] {
        for height in [1, 2, 3, 4, 7, 8, 10, 45] {
            let lines = picture(&mut view(), &mut table, width, height);
            let has = |text: &str| lines.iter().any(|line| line.contains(text));
            if width < 60 {
                continue;
            }
            assert!(has("CONTAINER"), "{width}x{height}: {lines:#?}");
            assert_eq!(
                has("total of 42"),
                height > 1,
                "{width}x{height}: {lines:#?}"
            );
            assert_eq!(has("q quit"), height >= 8, "{width}x{height}: {lines:#?}");
            assert_eq!(has("LOST"), width <= 80, "{width}x{height}: {lines:#?}");
            assert_eq!(has("LINES  "), width > 60, "{width}x{height}: {lines:#?}");
            assert_eq!(has("ABANDONED"), width > 80, "{width}x{height}: {lines:#?}");
        }
    }
}

#[test]
fn where_it_is_narrow_the_losses_are_one_column_and_names_are_cut() {
    let row = Row {
        skipped: 400,
        cut: 600,
        ..container("shop-storefront-1-漢字", 1.0)
    };
    let lines = picture(&mut view(), &mut table(vec![row]), 48, 4);
    assert_eq!(
        lines[..3],
        [
            "CONTAINER          SOURCE     LINES/S  LAG  LOST",
            "shop-storefront-~  json-file      1.0    -  1.0k",
            "total of 1 conta~                   -    -     -",
        ]
        .map(|line| line.to_owned())
    );
}
