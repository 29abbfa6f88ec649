//! The one place that prints. Answers go to stdout, everything else to stderr; colours only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Failure;

static COLOURS_OFF: AtomicBool = AtomicBool::new(false);

/// Switches colours off for good (`--no-color`).
pub fn without_colours() {
    COLOURS_OFF.store(true, Ordering::Relaxed);
}

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Secondary.
    Dim,
    /// Headings.
    Bold,
    /// Fine.
    Green,
    /// Look at it.
    Yellow,
    /// Broken.
    Red,
    /// Names.
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Cyan => "36",
        }
    }
}

/// Whether colours are wanted on a stream: it is a terminal, and neither `--no-color` nor `NO_COLOR` is set.
#[must_use]
pub fn coloured(terminal: bool) -> bool {
    let refused = COLOURS_OFF.load(Ordering::Relaxed) || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    terminal && !refused
}

/// Whether stderr takes colours.
#[must_use]
pub fn stderr_coloured() -> bool {
    coloured(io::stderr().is_terminal())
}

fn styled(text: &str, style: Style, coloured: bool) -> String {
    if coloured { format!("\x1b[{}m{text}\x1b[0m", style.code()) } else { text.to_owned() }
}

/// For stdout.
#[must_use]
pub fn paint(text: &str, style: Style) -> String {
    styled(text, style, coloured(io::stdout().is_terminal()))
}

/// For stderr.
#[must_use]
pub fn paint_err(text: &str, style: Style) -> String {
    styled(text, style, stderr_coloured())
}

/// A line of the answer. A reader that went away (`| head`) is no error: the command is over.
///
/// # Errors
/// stdout cannot be written for another reason; exit 75. A closed pipe gives a failure without a message, exit 1.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::no(""),
        _ => Failure::temporary(format!("write to stdout: {error}")),
    })
}

/// A line of progress, a warning, an error: on stderr. Nobody listening is no reason to stop.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text from outside on a person's terminal: control characters become visible instead of acting.
#[must_use]
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Columns of equal width, two blanks apart; the last one is not padded.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let pad = widths[column].saturating_sub(cell.chars().count());
                if column + 1 == row.len() { cell.clone() } else { format!("{cell}{}", " ".repeat(pad)) }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_cannot_act() {
        let rows =
            vec![vec!["a".to_owned(), "bb".to_owned(), "c".to_owned()], vec!["aaa".to_owned(), "b".to_owned(), "c".to_owned()]];
        assert_eq!(table(&rows), ["a    bb  c", "aaa  b   c"]);
        assert_eq!(visible("a\x1b[31mb\n"), "a\u{fffd}[31mb\u{fffd}");
    }
}
