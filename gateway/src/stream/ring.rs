//! The newest events, so that a client that was away gets exactly what it missed. Pure.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Events kept.
pub const EVENTS_MAX: usize = 2_048;
/// Bytes of all kept events together.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// An event, rendered once for everybody.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// As it goes over the wire.
    pub bytes: Bytes,
    /// Which kind of event, one bit.
    pub kind: u32,
    /// Bytes of all events up to and with this one, since the start.
    end: u64,
}

/// Events with ids one after the other.
#[derive(Debug, Default)]
pub(super) struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Bytes of all events that ever were.
    written: u64,
    /// Id of the newest event.
    last: u64,
}

impl Ring {
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds an event; `finish` writes its id into what was rendered before.
    pub fn push(&mut self, kind: u32, finish: impl FnOnce(u64) -> Bytes) {
        self.last += 1;
        let bytes = finish(self.last);
        self.bytes += bytes.len();
        self.written += bytes.len() as u64;
        self.frames.push_back(Frame { bytes, kind, end: self.written });
        while self.frames.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Something happened that nobody wrote down: whoever was there before has missed it.
    pub fn gap(&mut self) {
        self.frames.clear();
        self.bytes = 0;
        self.last += 1;
    }

    /// The events after the one with this id; none when some of them are gone, or the id is of no event yet.
    pub fn after(&self, seen: u64) -> Option<impl Iterator<Item = &Frame>> {
        let missing = usize::try_from(self.last.checked_sub(seen)?).ok()?;
        let from = self.frames.len().checked_sub(missing)?;
        Some(self.frames.range(from..))
    }

    /// How far somebody is behind who has the event with this id: events, and their bytes.
    pub fn behind(&self, seen: u64) -> (u64, u64) {
        let events = self.last.saturating_sub(seen);
        let next = usize::try_from(events).ok().and_then(|events| self.frames.len().checked_sub(events));
        let begin = next.and_then(|next| self.frames.get(next)).map(|frame| frame.end - frame.bytes.len() as u64);
        (events, begin.map_or(0, |begin| self.written - begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(events: u64, size: usize) -> Ring {
        let mut ring = Ring::default();
        for _ in 0..events {
            ring.push(1, |id| {
                let text = id.to_string();
                let blanks = " ".repeat(size.saturating_sub(text.len()));
                Bytes::from(text + &blanks)
            });
        }
        ring
    }

    fn after(ring: &Ring, seen: u64) -> Option<Vec<String>> {
        let text = |frame: &Frame| String::from_utf8(frame.bytes.to_vec()).unwrap().trim().to_owned();
        Some(ring.after(seen)?.map(text).collect())
    }

    #[test]
    fn whoever_comes_back_gets_exactly_what_it_missed() {
        let ring = ring(5, 1);
        assert_eq!(after(&ring, 5), Some(vec![]));
        assert_eq!(after(&ring, 3), Some(vec!["4".to_owned(), "5".to_owned()]));
        assert_eq!(after(&ring, 0).unwrap().len(), 5);
        assert_eq!(after(&ring, 6), None, "an id that was never given");
        assert_eq!(ring.behind(3), (2, 2));
        assert_eq!(ring.behind(5), (0, 0));
    }

    #[test]
    fn events_are_bounded_by_number_and_by_bytes() {
        let many = ring(EVENTS_MAX as u64 + 3, 1);
        assert_eq!(after(&many, 3).unwrap().len(), EVENTS_MAX);
        assert_eq!(after(&many, 2), None, "one that is gone was missed");
        let large = ring(5, BYTES_MAX / 3);
        assert_eq!(after(&large, 2).unwrap().len(), 3);
        assert_eq!(after(&large, 1), None);
        let mut larger = ring(1, 1);
        larger.push(1, |_| Bytes::from(vec![b' '; BYTES_MAX + 1]));
        assert_eq!((after(&larger, 1), after(&larger, 2)), (None, Some(vec![])), "one that is too large is kept for nobody");
    }

    #[test]
    fn nobody_goes_on_over_a_gap() {
        let mut ring = ring(3, 1);
        ring.gap();
        assert_eq!((after(&ring, 3), after(&ring, 4)), (None, Some(vec![])));
        ring.push(1, |id| Bytes::from(id.to_string()));
        assert_eq!(after(&ring, 4), Some(vec!["5".to_owned()]));
        assert_eq!(after(&ring, 3), None);
    }
}
