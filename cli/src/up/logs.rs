//! A process's output: kept in a log of bounded size; warnings and errors also go to the terminal, not too many.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A line longer than this is cut: a process that writes without line ends must not fill memory.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines of one process on the terminal within [`BURST_WINDOW`].
const BURST_MAX: u32 = 10;
const BURST_WINDOW: Duration = Duration::from_secs(5);

/// `<process>.log`, `<process>.log.1` (the one before) and so on.
pub struct RotatingLog {
    path: PathBuf,
    file: File,
    size: u64,
    size_max: u64,
    kept: u32,
}

impl RotatingLog {
    /// Opens for appending.
    ///
    /// # Errors
    /// The folder or file cannot be made.
    pub fn open(path: &Path, size_max: u64, kept: u32) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, size_max, kept })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn line(&mut self, line: &str) -> io::Result<()> {
        if self.size > self.size_max {
            self.rotate()?;
        }
        self.size += line.len() as u64 + 1;
        writeln!(self.file, "{line}")
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.kept).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        if self.kept > 0 {
            fs::rename(&self.path, numbered(1))?;
        }
        self.file = OpenOptions::new().create(true).write(true).truncate(true).open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Only for the log.
    Quiet,
    /// Worth showing.
    Warning,
    /// A person must look.
    Error,
}

/// Reads a line's level: tracing's text and JSON forms; a line without a level is what a process said before it
/// could log, a panic or a usage error, and is shown.
#[must_use]
pub fn severity(line: &str) -> Severity {
    let level = match line.strip_prefix('{') {
        Some(_) => serde_json::from_str::<serde_json::Value>(line)
            .ok()
            .and_then(|json| json.get("level").and_then(|level| level.as_str()).map(ToOwned::to_owned)),
        None => line.split_whitespace().take(2).find(|word| is_level(word)).map(ToOwned::to_owned),
    };
    match level.as_deref() {
        Some("ERROR") => Severity::Error,
        Some("WARN") => Severity::Warning,
        Some(_) => Severity::Quiet,
        None if line.trim().is_empty() => Severity::Quiet,
        None => Severity::Error,
    }
}

fn is_level(word: &str) -> bool {
    matches!(word, "ERROR" | "WARN" | "INFO" | "DEBUG" | "TRACE")
}

/// A line as shown behind the process's name: without the time, which the terminal does not need twice.
#[must_use]
pub fn brief(line: &str) -> String {
    let text = match line.split_once(' ') {
        Some((first, rest)) if first.starts_with("20") && first.contains('T') => rest.trim_start(),
        _ => line,
    };
    crate::output::visible(text)
}

/// Lets a burst through and counts the rest.
pub struct Throttle {
    window_began: Option<Instant>,
    shown: u32,
    hidden: u32,
}

/// What to show for one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whether the line itself is shown.
    pub line: bool,
    /// How many lines before it were not.
    pub hidden_before: u32,
}

impl Throttle {
    /// Nothing shown yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { window_began: None, shown: 0, hidden: 0 }
    }

    /// One more line at `now`.
    pub fn admit(&mut self, now: Instant) -> Shown {
        let over = self.window_began.is_none_or(|began| now.duration_since(began) >= BURST_WINDOW);
        let mut hidden_before = 0;
        if over {
            hidden_before = std::mem::take(&mut self.hidden);
            self.window_began = Some(now);
            self.shown = 0;
        }
        if self.shown < BURST_MAX {
            self.shown += 1;
            return Shown { line: true, hidden_before };
        }
        self.hidden += 1;
        Shown { line: false, hidden_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_from_text_and_json_and_a_line_without_one_is_loud() {
        let check = |line: &str, want: Severity| assert_eq!(severity(line), want, "{line}");
        check("2026-11-21T10:00:00Z  INFO spark_feed: ERROR is only a word here", Severity::Quiet);
        check("2026-11-21T10:00:00Z  WARN spark_feed: slow", Severity::Warning);
        check("2026-11-21T10:00:00Z ERROR spark_feed: broken", Severity::Error);
        check(r#"{"timestamp":"x","level":"WARN","fields":{}}"#, Severity::Warning);
        check(r#"{"timestamp":"x","level":"INFO","fields":{}}"#, Severity::Quiet);
        check("thread 'main' panicked at src/lib.rs", Severity::Error);
        check("", Severity::Quiet);
    }

    #[test]
    fn the_time_is_left_out_on_the_terminal() {
        assert_eq!(brief("2026-11-21T10:00:00Z  WARN spark_feed: slow"), "WARN spark_feed: slow");
        assert_eq!(brief("spark.toml:3: feed.x: unknown"), "spark.toml:3: feed.x: unknown");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut throttle = Throttle::new();
        let start = Instant::now();
        let shown = (0..100).filter(|_| throttle.admit(start).line).count();
        assert_eq!(shown, 10);
        assert_eq!(throttle.admit(start + BURST_WINDOW), Shown { line: true, hidden_before: 90 });
    }

    #[test]
    fn a_log_never_grows_beyond_its_bound_and_keeps_the_ones_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs").join("feed.log");
        let mut log = RotatingLog::open(&path, 1_000, 2).unwrap();
        for number in 0..200 {
            log.line(&format!("line {number:03} {}", "x".repeat(40))).unwrap();
        }
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|entry| entry.metadata().unwrap().len() <= 1_100));
        assert!(fs::read_to_string(&path).unwrap().contains("line 199"));
    }
}
