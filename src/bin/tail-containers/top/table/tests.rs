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

fn table(rows: Vec<Row>) -> Table {
    Table {
        origin: Origin::Here,
        rows,
        total: total(),
        troubles: Vec::new(),
    }
}

fn texts(table: &Table) -> Vec<String> {
    table.text().lines().map(str::to_owned).collect()
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
    let mut table = table(rows);
    table.sort(Order::default());
    assert_eq!(
        texts(&table),
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
fn each_order_has_its_first_row_and_comes_round() {
    let torn = Row {
        skipped: 1,
        ..container("torn", 0.0)
    };
    let late = Row {
        lag_seconds: 5.0,
        ..container("late", 1.0)
    };
    let long = Row {
        lines: 900,
        ..container("long", 2.0)
    };
    let mut table = table(vec![
        container("all", 1.5),
        torn,
        late,
        long,
        container("busy", 9.0),
    ]);
    let mut order = Order::default();
    let mut first = Vec::new();
    loop {
        table.sort(order);
        first.push((order.as_str(), table.rows[0].name.clone()));
        order = order.next();
        if order == Order::default() {
            break;
        }
    }
    let first: Vec<(&str, &str)> = first
        .iter()
        .map(|(order, name)| (*order, &**name))
        .collect();
    assert_eq!(
        first,
        [
            ("losses", "torn"),
            ("lines/s", "busy"),
            ("lines", "long"),
            ("behind", "late"),
            ("name", "all")
        ]
    );
}

#[test]
fn of_a_fluent_bit_the_input_and_what_was_refused_are_shown_and_troubles_come_first() {
    let row = Row {
        source: "logs".to_owned(),
        refused: 2_000,
        ..container("web", 1.0)
    };
    let table = Table {
        origin: Origin::FluentBit,
        troubles: vec!["logs: the DB cannot be written".to_owned()],
        ..table(vec![row])
    };
    assert_eq!(
        texts(&table),
        [
            "logs: the DB cannot be written",
            "CONTAINER              INPUT  LINES/S  LINES  LAG  BEHIND  SKIPPED  CUT  REFUSED  ABANDONED",
            "web                    logs       1.0      7    -       -        -    -     2.0k          -",
            "total of 3 containers              12     21    -       -        -    -        -          -",
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
