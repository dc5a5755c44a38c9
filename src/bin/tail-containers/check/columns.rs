//! The page of `check` in the columns of a terminal. Where it goes to a file or a pipe, nothing is
//! cut or broken.

use crate::shorten::{shorten, shorten_middle, wide};

/// Indent and padding of a row.
const AROUND: usize = 1;
const PADDING: usize = 2;
/// Columns that an image, a source and a name keep, in the order in which they are cut.
const LEAST: [(usize, usize); 3] = [(1, 16), (3, 24), (0, 16)];

/// The line, broken at its spaces; all parts but the first are indented. A path is not broken: it is
/// to be copied.
pub fn wrap(line: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width else {
        return line.to_owned();
    };
    let mut lines = vec![String::new()];
    for (index, word) in line.split(' ').enumerate() {
        let Some(last) = lines.last_mut() else { break };
        if index == 0 {
            last.push_str(word);
        } else if wide(last) + 1 + wide(word) <= width || last.trim().is_empty() {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(" ".repeat(indent) + word);
        }
    }
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n")
}

/// Cuts the cells of a table so that a row fits: of a name and an image both ends are kept.
pub fn fit(rows: &mut [[String; 4]], heads: [&str; 4], width: Option<usize>) {
    let Some(width) = width else {
        return;
    };
    let of_column = |rows: &[[String; 4]], column: usize| {
        let cells = rows.iter().map(|row| wide(&row[column]));
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths = [0, 1, 2, 3].map(|column| of_column(rows, column));
    let mut surplus = (AROUND + widths.iter().map(|width| width + PADDING).sum::<usize>())
        .saturating_sub(width + 1);
    for (column, least) in LEAST {
        let kept = widths[column].saturating_sub(surplus).max(least);
        surplus -= widths[column].saturating_sub(kept).min(surplus);
        for row in rows.iter_mut() {
            row[column] = match column {
                3 => shorten(&row[column], kept),
                _ => shorten_middle(&row[column], kept),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: [&str; 4] = ["NAME", "IMAGE", "DRIVER", "SOURCE"];

    fn rows() -> Vec<[String; 4]> {
        let image =
            "registry.example.com/platform/team/storefront-frontend:2024.11.27-rc1@sha256:0f1e2d";
        let source = "nowhere: its file cannot be read: Permission denied (os error 13)";
        vec![
            ["web", image, "json-file", "file"].map(str::to_owned),
            [
                "a-name-of-thirty-two-characters-",
                "nginx",
                "journald",
                source,
            ]
            .map(str::to_owned),
        ]
    }

    /// The columns of the widest row, as the table prints it.
    fn columns(rows: &[[String; 4]]) -> usize {
        let widest = |column: usize| {
            let cells = rows.iter().map(|row| wide(&row[column]));
            cells.chain([HEADS[column].len()]).max().unwrap()
        };
        // Nothing is behind the last cell.
        1 + (0..4).map(|column| 2 + widest(column)).sum::<usize>() - 1
    }

    #[test]
    fn a_row_fits_the_terminal_and_images_are_cut_first() {
        for width in [80, 120, 200] {
            let mut rows = rows();
            fit(&mut rows, HEADS, Some(width));
            assert!(columns(&rows) <= width, "{width}: {rows:?}");
        }
        let mut at_120 = rows();
        fit(&mut at_120, HEADS, Some(120));
        assert_eq!(at_120[1][0], "a-name-of-thirty-two-characters-");
        assert!(
            at_120[0][1].contains('~') && at_120[0][1].starts_with("regi"),
            "{at_120:?}"
        );
        let (mut wide, mut whole) = (rows(), rows());
        fit(&mut wide, HEADS, Some(250));
        fit(&mut whole, HEADS, None);
        assert_eq!((wide, whole), (rows(), rows()));
    }

    #[test]
    fn a_line_is_broken_at_spaces_and_no_path_is() {
        let line = "  1. web: it is in /a/very/long/path/that/is/copied, and not elsewhere";
        assert_eq!(
            wrap(line, 5, Some(30)),
            "  1. web: it is in\n     /a/very/long/path/that/is/copied,\n     and not elsewhere"
        );
        assert_eq!(wrap(line, 5, None), line);
        assert_eq!(
            wrap("DB            none is set", 14, Some(80)),
            "DB            none is set"
        );
    }
}
