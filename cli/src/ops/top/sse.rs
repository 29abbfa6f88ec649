//! Server-sent events from bytes, as they come.

/// An event larger than this is not ours.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads a stream piece by piece.
#[derive(Default)]
pub struct Reader {
    buffer: Vec<u8>,
    name: String,
    data: String,
    id: Option<String>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its kind.
    pub name: String,
    /// What it says.
    pub data: String,
}

impl Reader {
    /// The events that are whole with this piece.
    ///
    /// # Errors
    /// More than [`EVENT_BYTES_MAX`] without an end.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, String> {
        self.buffer.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut start = 0;
        while let Some(length) = self.buffer[start..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.buffer[start..start + length]).into_owned();
            start += length + 1;
            events.extend(self.line(line.trim_end_matches('\r')));
        }
        self.buffer.drain(..start);
        if self.buffer.len() + self.data.len() > EVENT_BYTES_MAX {
            return Err(format!("an event of more than {EVENT_BYTES_MAX} bytes"));
        }
        Ok(events)
    }

    /// The id of the newest event, to go on from there.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return (!data.is_empty()).then_some(Event { name, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.id = Some(value.to_owned()),
            // Comments keep the connection alive; other fields are not used here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_stream_is_cut() {
        let text = ": hello\n\nid: r-1\nevent: snapshot\ndata: {\"a\":1}\n\nevent: b\r\ndata: x\r\ndata: y\u{fc}\r\n\r\n";
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        for cut in 0..text.len() {
            let mut reader = Reader::default();
            let mut events = reader.push(&text.as_bytes()[..cut]).unwrap();
            events.extend(reader.push(&text.as_bytes()[cut..]).unwrap());
            assert_eq!(events, [event("snapshot", "{\"a\":1}"), event("b", "x\ny\u{fc}")], "{cut}");
            assert_eq!(reader.last_id(), Some("r-1"));
        }
        assert!(Reader::default().push(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }
}
