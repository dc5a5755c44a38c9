use super::*;

/// The records that result from `lines`.
fn joined(pattern: &str, lines: &[&str]) -> Vec<String> {
    // In the fuzz target's format: all of one stream, with one time.
    let seed = lines
        .iter()
        .map(|line| format!("\u{2}{line}"))
        .collect::<Vec<_>>()
        .join("\n");
    crate::fuzz_seeds::keep("multiline", format!("{pattern}\0{seed}").into_bytes());
    let pattern: Pattern = pattern.parse().unwrap();
    let mut records: Vec<String> = Vec::new();
    let mut open = None;
    for line in lines {
        match pattern.judge(open, line.as_bytes()) {
            Verdict::Continues(state) => {
                open = Some(state);
                let last = records.last_mut().expect("something is open");
                last.push('\n');
                last.push_str(line);
            }
            Verdict::Begins(state) => {
                open = Some(state);
                records.push((*line).to_owned());
            }
            Verdict::Alone => {
                open = None;
                records.push((*line).to_owned());
            }
        }
    }
    records
}

/// Asserts that each of `traces`, between unrelated lines, becomes one record, also if the
/// rules of other languages are active.
#[track_caller]
fn assert_whole(language: &str, traces: &[&str]) {
    for pattern in [language, "java,go,python"] {
        for trace in traces {
            let mut lines = vec!["GET / 200", "job 7 done"];
            lines.extend(trace.split('\n'));
            lines.extend(["GET / 200", "", "  indented, and no part of anything"]);
            let want = [
                "GET / 200",
                "job 7 done",
                trace,
                "GET / 200",
                "",
                "  indented, and no part of anything",
            ];
            assert_eq!(joined(pattern, &lines), want, "{pattern}");
        }
    }
}

#[test]
fn traces_of_java_and_its_kin_are_whole() {
    assert_whole(
        "java",
        &[
            "Exception in thread \"main\" java.lang.IllegalStateException: no such shelf\n\
             \tat shop.Shelf.find(Shelf.java:17)\n\
             \tat java.base/java.lang.Thread.run(Thread.java:1583)\n\
             Caused by: java.io.IOException: disk gone\n\
             \tat shop.Disk.read(Disk.java:4)\n\
             \t... 12 more\n\
             \tSuppressed: java.lang.RuntimeException: while closing\n\
             \t\tat shop.Disk.close(Disk.java:9)\n\
             \t\t... 13 common frames omitted",
            "2026-11-25 12:00:00 ERROR shop.Till - java.lang.OutOfMemoryError: Java heap space\n\
             \tat shop.Till.ring(Till.kt:3)",
            "java.lang.NullPointerException\n\tat shop.A.b(A.scala:1)",
            // JavaScript.
            "/srv/app.js:3\nTypeError: cart.map is not a function\n    at total (/srv/app.js:3:15)\n    at async main (/srv/app.js:9:3)"
                .split_once('\n')
                .unwrap()
                .1,
            // A message followed by an empty line.
            "java.lang.IllegalStateException: first\n\n\tat a.B.c(B.java:1)\nCaused by: java.io.IOException: x\n\n\t... 8 more",
            // JavaScript: a code, a cause, fields.
            "TypeError [ERR_INVALID_ARG_TYPE]: no string\n\
             \x20   at open (node:fs:573:3)\n\
             \x20   ... 4 lines matching cause stack trace ...\n\
             \x20   at main (/srv/app.js:9:3) {\n\
             \x20 errno: -2,\n\
             \x20 code: 'ENOENT',\n\
             \x20 [cause]: Error: disk gone\n\
             \x20     at read (/srv/app.js:1:1)\n\
             }",
            // .NET.
            "Unhandled exception. System.InvalidOperationException: no till\n\
             \x20---> System.IO.IOException: busy\n\
             \x20  at Shop.Disk.Read() in /src/Disk.cs:line 4\n\
             \x20  --- End of inner exception stack trace ---\n\
             \x20  at Shop.Till.Ring() in /src/Till.cs:line 9\n\
             --- End of stack trace from previous location ---\n\
             \x20  at Shop.Main() in /src/Main.cs:line 2",
        ],
    );
}

#[test]
fn traces_of_go_are_whole() {
    assert_whole(
        "go",
        &[
            "panic: runtime error: index out of range [5] with length 3\n\
             \n\
             goroutine 1 [running]:\n\
             main.(*shelf).find(...)\n\
             \t/src/main.go:9\n\
             main.main()\n\
             \t/src/main.go:5 +0x1d\n\
             exit status 2",
            "panic: first [recovered]\n\
             \tpanic: second\n\
             [signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45e2f6]\n\
             \n\
             goroutine 18 gp=0xc000 m=3 mp=0xc0 [running]:\n\
             panic({0x47d020?, 0x4b2f98?})\n\
             \t/usr/local/go/src/runtime/panic.go:770 +0x132\n\
             created by main.main in goroutine 1\n\
             \t/src/main.go:22 +0x25\n\
             \n\
             goroutine 1 [chan receive, 2 minutes]:\n\
             main.main()\n\
             \t/src/main.go:23 +0x4f",
            "2026/11/25 12:00:00 http: panic serving 10.0.0.7:4711: no such shelf\n\
             goroutine 34 [running]:\n\
             net/http.(*conn).serve.func1()\n\
             \t/usr/local/go/src/net/http/server.go:1898 +0xbe\n\
             ...additional frames elided...\n\
             created by net/http.(*Server).Serve in goroutine 1\n\
             \t/usr/local/go/src/net/http/server.go:3285 +0x4b4",
            // Two joined errors, as Go indents them.
            "panic: first\n\tsecond\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:4 +0x1a",
            "fatal error: stack overflow\n\
             \n\
             runtime stack:\n\
             runtime.throw({0x4a0b2c?, 0x7ffd?})\n\
             \t/usr/local/go/src/runtime/panic.go:1047 +0x5d\n\
             \n\
             goroutine 1 [running]:\n\
             main.f(0x1)\n\
             \t/src/main.go:3 +0x2b\n\
             \n\
             goroutine 7 [running]:\n\
             \tgoroutine running on other thread; stack unavailable\n\
             created by main.main in goroutine 1\n\
             \t/src/main.go:9 +0x25",
            "fatal error: all goroutines are asleep - deadlock!\n\
             \n\
             goroutine 1 [chan receive]:\n\
             main.main()\n\
             \t/src/main.go:4 +0x1a",
        ],
    );
}

#[test]
fn traces_of_python_are_whole() {
    assert_whole(
        "python",
        &[
            "Traceback (most recent call last):\n\
             \x20 File \"/srv/shop.py\", line 3, in <module>\n\
             \x20   total(None)\n\
             \x20   ~~~~~^^^^^^\n\
             \x20 [Previous line repeated 996 more times]\n\
             shop.errors.NoTill: no till",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyboardInterrupt",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\na.f.<locals>.NoTill: x",
            "Traceback (most recent call last):\n  File \"a.py\", line 2, in f\nKeyError: 'x'\n\
             \n\
             The above exception was the direct cause of the following exception:\n\
             \n\
             \x20 + Exception Group Traceback (most recent call last):\n\
             \x20 |   File \"a.py\", line 1, in <module>\n\
             \x20 | ExceptionGroup: two (2 sub-exceptions)",
            "Traceback (most recent call last):\n  File \"a.py\", line 2, in f\nKeyError: 'x'\n\
             \n\
             During handling of the above exception, another exception occurred:\n\
             \n\
             Traceback (most recent call last):\n  File \"a.py\", line 4, in <module>\nValueError: y\n\
             \n\
             The above exception was the direct cause of the following exception:\n\
             \n\
             Traceback (most recent call last):\n  File \"a.py\", line 6, in <module>\nRuntimeError: z",
        ],
    );
    let group = "  + Exception Group Traceback (most recent call last):\n\
                 \x20 |   File \"a.py\", line 1, in <module>\n\
                 \x20 | ExceptionGroup: two (2 sub-exceptions)\n\
                 \x20 +-+---------------- 1 ----------------\n\
                 \x20   | ValueError: 1\n\
                 \x20   +------------------------------------";
    let lines: Vec<&str> = group.split('\n').chain(["GET / 200"]).collect();
    assert_eq!(joined("python", &lines), [group, "GET / 200"]);
}

/// An empty line after a trace is held until it is known whether another trace follows, and is
/// part of the record if none does: nothing is left out.
#[test]
fn an_empty_line_behind_a_trace_stays_with_it() {
    let lines = [
        "Traceback (most recent call last):",
        "  File \"a.py\"",
        "KeyError: 'x'",
        "",
        "GET / 200",
    ];
    assert_eq!(
        joined("python", &lines),
        [lines[..4].join("\n").as_str(), "GET / 200"]
    );
}

#[test]
fn lines_of_a_terminal_end_in_a_carriage_return() {
    let lines = [
        "panic: x\r",
        "\r",
        "goroutine 1 [running]:\r",
        "main.main()\r",
        "\t/src/main.go:4 +0x1a\r",
        "exit status 2\r",
    ];
    assert_eq!(joined("go", &lines), [lines.join("\n")]);
}

#[test]
fn a_trace_behind_a_trace_is_a_record_of_its_own() {
    let one = ["java.lang.Error: a", "\tat a.B.c(B.java:1)"];
    let lines: Vec<&str> = one.iter().chain(&one).copied().collect();
    assert_eq!(joined("java", &lines), [one.join("\n"), one.join("\n")]);
}

#[test]
fn words_that_sound_like_a_trace_hold_up_nothing() {
    let pattern: Pattern = "java,go,python".parse().unwrap();
    for line in [
        "Errors: 0",
        "no Exception was thrown",
        "don't panic",
        "goroutine 1 [running]:",
        "Caused by: nobody",
        "\tat the bakery",
        "KeyErrors: 'x'",
        "{\"level\":\"error\",\"msg\":\"TimeoutException was caught\"}",
        "\x00\u{ff}",
    ] {
        assert_eq!(
            pattern.judge(None, line.as_bytes()),
            Verdict::Alone,
            "{line}"
        );
    }
    assert_eq!(pattern.judge(None, b"\xff\xfe\xfd"), Verdict::Alone);
}

#[test]
fn an_expression_tells_the_first_line_of_each_record() {
    let lines = [
        "  rest of before",
        "and more",
        "2026-11-25 first",
        "  second",
        "",
        "2026-11-26 next",
    ];
    assert_eq!(
        joined(r"^\d{4}-\d{2}", &lines),
        [
            "  rest of before\nand more",
            "2026-11-25 first\n  second\n",
            "2026-11-26 next"
        ]
    );
    assert_eq!(
        joined(r"(?i)^start,", &["START,1", "2", "start,3"]),
        ["START,1\n2", "start,3"]
    );
}

#[test]
fn what_cannot_be_understood_is_quoted_with_its_reason() {
    let wrong = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
    assert_eq!(
        wrong("^(open"),
        "`^(open` is neither java, go or python nor a valid regular expression: error: unclosed group"
    );
    assert!(
        wrong(r"\pL{1000}{1000}").contains("too much memory"),
        "{}",
        wrong(r"\pL{1000}{1000}")
    );
    assert!(
        wrong("x*").contains("matches every line"),
        "{}",
        wrong("x*")
    );
    for text in ["pyton", "java,pyton", "ruby", "", "two words"] {
        assert!(wrong(text).contains("only plain words"), "{}", wrong(text));
    }
    // Lines that separate records are lines like any other.
    let separator: Pattern = r"^\s*$".parse().unwrap();
    assert_eq!(
        separator.judge(Some(State::Any), b""),
        Verdict::Begins(State::Any)
    );
    assert_eq!(
        separator.judge(Some(State::Any), b"text"),
        Verdict::Continues(State::Any)
    );
}

#[test]
fn names_are_compared_without_case_and_equal_patterns_are_shared() {
    assert_eq!(
        "Java, GO"
            .parse::<Pattern>()
            .unwrap()
            .judge(None, b"panic: x"),
        Verdict::Begins(State::GoPanic)
    );
    // A language named repeatedly is only tried once.
    assert!(
        matches!(named("go,GO, go,java"), Some(Pattern { kind: Kind::Traces(names), .. }) if names.len() == 2)
    );
    let first = Pattern::shared("^shared").unwrap();
    assert!(Arc::ptr_eq(&first, &Pattern::shared("^shared").unwrap()));
    assert!(!Arc::ptr_eq(&first, &Pattern::shared("^other").unwrap()));
}

/// Only the first bytes are matched; anything after them cannot make a line the first of a
/// record.
#[test]
fn a_long_line_is_judged_by_its_start() {
    let pattern: Pattern = "^first|END".parse().unwrap();
    let judge = |line: &str| pattern.judge(Some(State::Any), line.as_bytes());
    assert_eq!(
        judge(&("first".to_owned() + &"x".repeat(1 << 20))),
        Verdict::Begins(State::Any)
    );
    assert_eq!(
        judge(&("x".repeat(JUDGED_BYTES - 3) + "END")),
        Verdict::Begins(State::Any)
    );
    assert_eq!(
        judge(&("x".repeat(JUDGED_BYTES - 2) + "END")),
        Verdict::Continues(State::Any)
    );
    let java: Pattern = "java".parse().unwrap();
    let long = "x".repeat(traces::JUDGED_BYTES) + ": java.lang.Error: x";
    assert_eq!(java.judge(None, long.as_bytes()), Verdict::Alone);
    assert_eq!(
        java.judge(None, &long.as_bytes()[1000..]),
        Verdict::Begins(State::JavaHead)
    );
}

/// Common beginnings of log lines fit. Expressions made to be slow do not fit, nor do those
/// that are large because of classes, nesting, repetition counts or length.
#[test]
fn an_expression_of_a_label_is_kept_small() {
    for usual in [
        r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}:?\d{2})?\s+(?:INFO|WARN|ERROR|DEBUG)\s",
        r"^(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{1,2}\s\d{2}:\d{2}:\d{2}\s\S+\s\w+\[\d+\]:",
        r"^\[?\w{3} \w{3} \d{2} \d{2}:\d{2}:\d{2}\.\d{6} \d{4}\]",
        r"^\{",
        "^début",
    ] {
        assert!(
            Pattern::of_label(usual).is_ok(),
            "{usual}: {:?}",
            Pattern::of_label(usual)
        );
    }
    for large in [
        "[ab]{0,900}a[ab]{900}c".to_owned(),
        "[ab]{0,80}a[ab]{80}c".to_owned(),
        "(?:a?){300}a{300}c".to_owned(),
        "(?u)\\pL{100}c".to_owned(),
        "((((((a{100}){100}){100}){100}){100}){100}){100}".to_owned(),
        "(?iu)\\w".repeat(30),
        "(?:".repeat(300),
    ] {
        let begun = std::time::Instant::now();
        assert!(Pattern::of_label(&large).is_err(), "{large}");
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(1),
            "{large}: {:?}",
            begun.elapsed()
        );
    }
}

/// They are counted separately from those of options, and one that is no longer used frees its
/// place.
#[test]
fn so_many_expressions_of_labels_are_in_use_at_a_time() {
    let in_use = InUse::default();
    let take = |number: usize, is_of_label| in_use.expression(&format!("^{number}"), is_of_label);
    let mut kept: Vec<Arc<Pattern>> = (0..MOST_OF_LABELS)
        .map(|number| take(number, true).unwrap())
        .collect();
    let problem = take(MOST_OF_LABELS, true).unwrap_err().to_string();
    assert!(
        problem.contains("64 other regular expressions from labels"),
        "{problem}"
    );
    assert!(take(0, true).is_ok(), "one that is in use");
    assert!(take(MOST_OF_LABELS, false).is_ok(), "the operator's");
    kept.pop();
    assert!(take(MOST_OF_LABELS, true).is_ok());
}
