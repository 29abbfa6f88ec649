//! Looks at recorded files before anything starts: each must exist and begin with recorded frames.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::exit::Failure;

/// The first frame must fit here.
const HEAD_BYTES: u64 = 64 * 1024;
const FORMAT: &str = "lines of `<received ns> {\"stream\":…,\"data\":…}`, gzip or plain";

/// The files with absolute paths, and the speed as the simulator takes it.
///
/// # Errors
/// Exit 64 naming the file or the flag.
pub fn check(files: &[PathBuf], speed: &str) -> Result<Vec<PathBuf>, Failure> {
    let usable = speed == "max" || speed.parse::<f64>().is_ok_and(|factor| factor.is_finite() && factor > 0.0);
    if !usable {
        return Err(Failure::usage(format!("--speed {speed}: neither a positive number nor `max`; write e.g. --speed 60")));
    }
    files.iter().map(|file| check_one(file)).collect()
}

fn check_one(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |what: String| Failure::usage(format!("--replay {}: {what}", path.display()));
    let mut file = File::open(path).map_err(|error| wrong(format!("{error}; name a recorded file")))?;
    let mut magic = [0; 2];
    let gzip = file.read(&mut magic).is_ok_and(|count| count == 2 && magic == [0x1f, 0x8b]);
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let head = if gzip { first_line(MultiGzDecoder::new(file)) } else { first_line(file) };
    let head = head.map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let looks_right = head.split_once(' ').is_some_and(|(received, frame)| {
        received.parse::<i64>().is_ok()
            && serde_json::from_str::<serde_json::Value>(frame).is_ok_and(|json| json.get("stream").is_some())
    });
    if !looks_right {
        return Err(wrong(format!("no recorded frames in it; wanted are {FORMAT}")));
    }
    path.canonicalize().map_err(|error| wrong(error.to_string()))
}

fn first_line(reader: impl Read) -> std::io::Result<String> {
    let mut line = String::new();
    BufReader::new(reader.take(HEAD_BYTES)).read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_speeds_are_judged_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = write("good one", "1723161253937085768 {\"stream\":\"btcusdt@trade\",\"data\":{}}\n");
        let check_all = |file: &Path, speed: &str, want: Result<(), &str>| match (check(&[file.to_owned()], speed), want) {
            (Ok(_), Ok(())) => {}
            (Err(failure), Err(word)) => assert!(failure.message.contains(word), "{failure}"),
            (got, want) => panic!("{got:?} is not {want:?}"),
        };
        check_all(&good, "max", Ok(()));
        check_all(&good, "60", Ok(()));
        check_all(&good, "0", Err("--speed 0"));
        check_all(&good, "fast", Err("--speed fast"));
        check_all(&good, "nan", Err("--speed nan"));
        check_all(&write("page", "<html>"), "1", Err("no recorded frames"));
        check_all(&write("empty", ""), "1", Err("no recorded frames"));
        check_all(&write("bytes", "\u{1f}\u{8b}"), "1", Err("no recorded frames"));
        check_all(&folder.path().join("missing"), "1", Err("missing"));
    }
}
