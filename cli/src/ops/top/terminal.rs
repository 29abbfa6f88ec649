//! The terminal of `spark top`: raw mode, the alternate screen, its size, keys. What was changed is put back on drop.

use std::io::{self, Read as _, Write as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::render::Line;
use crate::exit::Failure;
use crate::output::paint;

/// Bytes of keys that are read at once.
const READ_BYTES: usize = 64;
/// Keys that wait; more are dropped.
const KEYS_MAX: usize = 64;
/// When a terminal does not tell its size.
const USUAL: (usize, usize) = (80, 24);

const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// q, Ctrl-C.
    Quit,
    /// p, blank.
    Pause,
    /// Tab, right.
    Next,
    /// Shift-tab, left.
    Previous,
    /// A digit.
    Number(usize),
    /// So many lines down, up below zero.
    Scroll(isize),
    /// So many screens down, up below zero.
    Page(isize),
    /// To the beginning.
    Home,
    /// To the end.
    End,
}

/// The terminal, taken over.
pub struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes it over.
    ///
    /// # Errors
    /// Exit 75: it cannot be set.
    pub fn take() -> Result<Self, Failure> {
        let wrong = |error: rustix::io::Errno| Failure::temporary(format!("set up the terminal: {error}; use --once"));
        let before = tcgetattr(io::stdin()).map_err(wrong)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(wrong)?;
        let terminal = Self { before };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and lines.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => USUAL,
        }
    }

    /// Draws the whole screen at once: each line over the old one, so that nothing flickers.
    ///
    /// # Errors
    /// Exit 1 without a word when the terminal is gone.
    pub fn draw(&self, lines: &[Line]) -> Result<(), Failure> {
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            if at > 0 {
                text.push_str("\r\n");
            }
            for (piece, style) in &line.0 {
                text.push_str(&style.map_or_else(|| piece.clone(), |style| paint(piece, style)));
            }
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody to tell when the terminal is gone.
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| Failure::no(""))
}

/// Reads keys on a thread of its own, for as long as the process lives. It ends with the terminal.
#[must_use]
pub fn keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        let mut bytes = [0; READ_BYTES];
        let mut stdin = io::stdin();
        while let Ok(count) = stdin.read(&mut bytes) {
            if count == 0 {
                let _ = sender.blocking_send(Key::Quit);
                return;
            }
            for key in parse(&bytes[..count]) {
                // A full queue is somebody leaning on a key.
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(key) {
                    return;
                }
            }
        }
    });
    receiver
}

/// The keys in what a terminal sends.
#[must_use]
pub fn parse(bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 14] = [
        (b"\x1b[A", Key::Scroll(-1)),
        (b"\x1bOA", Key::Scroll(-1)),
        (b"\x1b[B", Key::Scroll(1)),
        (b"\x1bOB", Key::Scroll(1)),
        (b"\x1b[C", Key::Next),
        (b"\x1bOC", Key::Next),
        (b"\x1b[D", Key::Previous),
        (b"\x1bOD", Key::Previous),
        (b"\x1b[Z", Key::Previous),
        (b"\x1b[5~", Key::Page(-1)),
        (b"\x1b[6~", Key::Page(1)),
        (b"\x1b[H", Key::Home),
        (b"\x1b[F", Key::End),
        (b"\t", Key::Next),
    ];
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some((sequence, key)) = SEQUENCES.iter().find(|(sequence, _)| rest.starts_with(sequence)) {
            keys.push(*key);
            rest = &rest[sequence.len()..];
            continue;
        }
        rest = after;
        match first {
            b'q' | b'Q' | 3 => keys.push(Key::Quit),
            b'p' | b' ' => keys.push(Key::Pause),
            b'k' => keys.push(Key::Scroll(-1)),
            b'j' => keys.push(Key::Scroll(1)),
            b'g' => keys.push(Key::Home),
            b'G' => keys.push(Key::End),
            digit @ b'1'..=b'9' => keys.push(Key::Number(usize::from(digit - b'0'))),
            // A sequence of another key: up to its last letter it means nothing here.
            0x1b => {
                let end = rest.iter().skip(1).position(|byte| byte.is_ascii_alphabetic() || *byte == b'~');
                rest = end.map_or(&[][..], |end| &rest[(end + 2).min(rest.len())..]);
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_others_are_skipped_as_a_whole() {
        assert_eq!(parse(b"q\x03"), [Key::Quit, Key::Quit]);
        assert_eq!(parse(b"\t2\x1b[Z"), [Key::Next, Key::Number(2), Key::Previous]);
        assert_eq!(parse(b"\x1b[A\x1b[6~jG"), [Key::Scroll(-1), Key::Page(1), Key::Scroll(1), Key::End]);
        assert_eq!(parse(b"\x1b[15~p"), [Key::Pause], "F5 is no key of ours, and its digits are none");
        assert_eq!(parse(b"\x1b"), []);
    }
}
