//! Candles of an exchange in files, so that a range is asked for once.
//!
//! `<folder>/<venue>/<symbol>/<time frame>/<first open time, ms>.csv` holds up to [`PAGE_BARS`] consecutive intervals, only
//! closed candles. Its first line says up to when it is known and the SHA-256 of the rest; a file that does not say so, or
//! whose rest is another, is as if it were not there. Files are replaced whole, never written into.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Fixed, Timestamp, Venue};
use spark_strategy::rule::Bar;

use crate::engine::Error;

/// Intervals of one file: what an exchange gives in one answer.
pub const PAGE_BARS: i64 = 1_000;
const MAGIC: &str = "spark-candles 1";
/// Bytes of one file, at most; more is damage.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the candles of one symbol are kept.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

/// What is known of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Candles that end at or before this are there, or the exchange has none; ms.
    pub known_to: i64,
    /// Oldest first.
    pub bars: Vec<Bar>,
}

impl Cache {
    pub fn new(folder: &Path, venue: Venue, symbol: &str, timeframe: TimeFrame) -> Self {
        Self { folder: folder.join(venue.as_str()).join(symbol).join(timeframe.as_str()) }
    }

    fn path(&self, start_ms: i64) -> PathBuf {
        self.folder.join(format!("{start_ms}.csv"))
    }

    /// The page that begins there; none when there is no usable file.
    pub fn load(&self, start_ms: i64) -> Option<Page> {
        let path = self.path(start_ms);
        let size = fs::metadata(&path).ok()?.len();
        let page = (size <= FILE_BYTES_MAX).then(|| fs::read_to_string(&path).ok()).flatten().and_then(|text| parse(&text));
        if page.is_none() {
            tracing::warn!(path = %path.display(), "a cached file of candles is damaged; it is fetched again");
        }
        page
    }

    /// Replaces the page.
    pub fn save(&self, start_ms: i64, page: &Page) -> Result<(), Error> {
        let path = self.path(start_ms);
        let file = |action, source| Error::File { action, path: path.display().to_string(), source };
        fs::create_dir_all(&self.folder).map_err(|error| file("make the folder of", error))?;
        // Several workers may write the same page: each its own file first.
        let new = self.folder.join(format!(".{start_ms}-{}-{:?}", std::process::id(), std::thread::current().id()));
        let write = || {
            let mut out = fs::File::create(&new)?;
            out.write_all(render(page).as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| {
            drop(fs::remove_file(&new));
            file("write", error)
        })
    }
}

fn render(page: &Page) -> String {
    let rows: String = page
        .bars
        .iter()
        .map(|bar| {
            let time = bar.open_time.as_millis();
            format!("{time},{},{},{},{},{}\n", bar.open, bar.high, bar.low, bar.close, bar.volume)
        })
        .collect();
    format!("{MAGIC} {} {}\n{rows}", page.known_to, digest(page.known_to, &rows))
}

fn digest(known_to: i64, rows: &str) -> String {
    hex::encode(Sha256::digest(format!("{known_to}\n{rows}")))
}

fn parse(text: &str) -> Option<Page> {
    let (head, rows) = text.split_once('\n')?;
    let (known_to, hash) = head.strip_prefix(MAGIC)?.trim().split_once(' ')?;
    let known_to = known_to.parse().ok()?;
    if digest(known_to, rows) != hash {
        return None;
    }
    let bars = rows.lines().map(row).collect::<Option<Vec<Bar>>>()?;
    Some(Page { known_to, bars })
}

fn row(line: &str) -> Option<Bar> {
    let mut fields = line.split(',');
    let open_time = Timestamp::from_millis(fields.next()?.parse().ok()?);
    let mut number = || Fixed::parse(fields.next()?).ok();
    Some(Bar { open_time, open: number()?, high: number()?, low: number()?, close: number()?, volume: number()? })
}
