use super::*;

fn container(name: &str, rate: f64) -> Row {
    Row {
        name: name.to_owned(),
        source: "json-file".to_owned(),
        rate,
        lines: 7,
        ..Row::default()
    }
}

fn total() -> Row {
    Row {
        name: "total of 3 containers".to_owned(),
        rate: 12.0,
        lines: 21,
        ..Row::default()
    }
}

fn texts(table: &Table, width: usize, height: usize) -> Vec<String> {
    table
        .lines(width, height)
        .into_iter()
        .map(|line| line.text)
        .collect()
}

#[test]
fn losses_come_first_then_who_writes_most_and_the_sum_is_last() {
    let rows = vec![
        container("quiet", 0.0),
        container("busy", 1_234.4),
        container("also-quiet", 0.0),
        Row {
            skipped: 1_500,
            abandoned: Abandoned {
                bytes: 0,
                generations: 2,
            },
            ..container("torn", 0.5)
        },
        Row {
            lag_bytes: 25_400_000,
            lag_seconds: 90.0,
            ..container("slow", 3.25)
        },
    ];
    assert_eq!(
        texts(&Table::new(rows, total()), 200, 50),
        [
            "CONTAINER              SOURCE     LINES/S  LINES  LAG  BEHIND  SKIPPED  CUT  ABANDONED",
            "torn                   json-file      0.5      7    -       -     1.5k    -    2 files",
            "busy                   json-file     1234      7    -       -        -    -          -",
            "slow                   json-file      3.2      7  25M     90s        -    -          -",
            "also-quiet             json-file        -      7    -       -        -    -          -",
            "quiet                  json-file        -      7    -       -        -    -          -",
            "total of 3 containers                  12     21    -       -        -    -          -",
        ]
    );
}

#[test]
fn no_line_is_wider_and_no_table_higher_than_the_terminal() {
    let mut rows: Vec<Row> = (0..40)
        .map(|number| container(&format!("shop-web-backend-{number}"), f64::from(number)))
        .collect();
    rows.push(container("Zürich-漢字-\u{fffd}", 3.0));
    rows.push(container(&"long".repeat(30), 2.0));
    let table = Table::new(rows, total());
    for width in [0, 1, 5, 20, 40, 60, 79, 80, 100, 300] {
        for height in [0, 1, 2, 3, 10, 43, 44, 45] {
            let lines = texts(&table, width, height);
            assert!(lines.len() <= height, "{width}x{height}: {}", lines.len());
            assert!(
                lines.iter().all(|line| wide(line) <= width),
                "{width}x{height}: {lines:#?}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let rows: Vec<Row> = (0..10)
        .map(|number| container(&format!("c{number}"), 1.0))
        .collect();
    let table = Table::new(rows, total());
    let names = |height| -> Vec<String> {
        let first = |line: &String| line.split("  ").next().unwrap_or_default().to_owned();
        texts(&table, 200, height).iter().map(first).collect()
    };
    assert_eq!(names(12).len(), 12);
    assert!(!names(12).iter().any(|line| line.contains("more")));
    let expected = [
        "CONTAINER",
        "c0",
        "and 9 more that do not fit",
        "total of 3 containers",
    ];
    assert_eq!(names(4), expected);
    assert_eq!(
        names(3),
        [
            "CONTAINER",
            "and 10 more that do not fit",
            "total of 3 containers"
        ]
    );
}

#[test]
fn where_it_is_narrow_the_losses_are_one_column() {
    let row = Row {
        skipped: 400,
        cut: 600,
        ..container("shop-storefront-1", 1.0)
    };
    assert_eq!(
        texts(&Table::new(vec![row], total()), 50, 10),
        [
            "CONTAINER            SOURCE     LINES/S  LAG  LOST",
            "shop-storefront-1    json-file      1.0    -  1.0k",
            "total of 3 contain~                  12    -     -",
        ]
    );
}

#[test]
fn numbers_are_short() {
    let sizes = [
        (0, "-"),
        (999, "999"),
        (1_000, "1.0k"),
        (12_345, "12k"),
        (9_990_000, "10M"),
    ];
    for (bytes, text) in sizes
        .into_iter()
        .chain([(3_000_000_000, "3.0G"), (u64::MAX, "18446744074G")])
    {
        assert_eq!(size(bytes), text);
    }
    for (seconds, text) in [
        (0.0, "-"),
        (0.04, "0.0s"),
        (59.6, "60s"),
        (600.0, "10m"),
        (36_000.0, "10h"),
        (864_000.0, "10d"),
    ] {
        assert_eq!(age(seconds), text);
    }
    assert_eq!(
        [rate(0.0), rate(0.25), rate(9.5), rate(1e6)],
        ["-", "0.2", "9.5", "1000000"]
    );
}

#[test]
fn a_name_of_wide_characters_takes_no_room_from_the_figures() {
    let row = Row {
        skipped: 5,
        ..container("Zürich-漢字", 1.0)
    };
    let total = Row {
        name: "total of 1".to_owned(),
        ..Row::default()
    };
    assert_eq!(
        texts(&Table::new(vec![row], total), 42, 10),
        [
            "CONTAINER    SOURCE     LINES/S  LAG  LOST",
            "Zürich-漢字  json-file      1.0    -     5",
            "total of 1                    -    -     -",
        ]
    );
}
