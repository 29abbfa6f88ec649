//! Reads the two frequent frames when they are laid out exactly as Binance writes them: no whitespace, fixed order of keys,
//! no escapes. Anything else is `None`, and serde decides.

use super::parser::{RawQuote, RawTrade};

/// Stream name and the bytes of `data`, including its closing brace.
pub(super) fn envelope(frame: &[u8]) -> Option<(&str, &[u8])> {
    let mut cursor = Cursor(frame);
    cursor.literal(b"{\"stream\":")?;
    let stream = cursor.text()?;
    cursor.literal(b",\"data\":")?;
    match cursor.0 {
        [data @ .., b'}'] => Some((stream, data)),
        _ => None,
    }
}

/// `{"e":"trade","E":…,"s":"…","t":…,"p":"…","q":"…","T":…,"m":…,"M":…}`
pub(super) fn trade(data: &[u8]) -> Option<RawTrade<'_>> {
    let mut cursor = Cursor(data);
    cursor.literal(b"{\"e\":")?;
    let event = cursor.text()?;
    cursor.literal(b",\"E\":")?;
    cursor.integer()?;
    cursor.literal(b",\"s\":")?;
    let symbol = cursor.text()?;
    cursor.literal(b",\"t\":")?;
    let id = cursor.integer()?;
    cursor.literal(b",\"p\":")?;
    let price = cursor.text()?;
    cursor.literal(b",\"q\":")?;
    let quantity = cursor.text()?;
    cursor.literal(b",\"T\":")?;
    let time = i64::try_from(cursor.integer()?).ok()?;
    cursor.literal(b",\"m\":")?;
    let buyer_is_maker = cursor.boolean()?;
    cursor.literal(b",\"M\":")?;
    cursor.boolean()?;
    cursor.end()?;
    Some(RawTrade { event, symbol, id, price, quantity, time, buyer_is_maker })
}

/// `{"u":…,"s":"…","b":"…","B":"…","a":"…","A":"…"}`
pub(super) fn quote(data: &[u8]) -> Option<RawQuote<'_>> {
    let mut cursor = Cursor(data);
    cursor.literal(b"{\"u\":")?;
    let update_id = cursor.integer()?;
    cursor.literal(b",\"s\":")?;
    let symbol = cursor.text()?;
    cursor.literal(b",\"b\":")?;
    let bid_price = cursor.text()?;
    cursor.literal(b",\"B\":")?;
    let bid_quantity = cursor.text()?;
    cursor.literal(b",\"a\":")?;
    let ask_price = cursor.text()?;
    cursor.literal(b",\"A\":")?;
    let ask_quantity = cursor.text()?;
    cursor.end()?;
    Some(RawQuote { update_id, symbol, bid_price, bid_quantity, ask_price, ask_quantity })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn literal(&mut self, want: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(want)?;
        Some(())
    }

    /// A quoted string of printable ASCII without escapes.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        self.literal(b"\"")?;
        let end = self.0.iter().position(|&byte| byte == b'"' || byte == b'\\' || !(0x20..0x7f).contains(&byte))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(text).ok()
    }

    /// Digits as JSON allows them: no sign, no leading zero. The byte after them is the next literal's concern, which
    /// turns fractions and exponents away.
    #[inline]
    fn integer(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        if number.is_empty() || (number[0] == b'0' && digits > 1) {
            return None;
        }
        let mut value = 0_u64;
        for &digit in number {
            value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
        }
        self.0 = rest;
        Some(value)
    }

    #[inline]
    fn boolean(&mut self) -> Option<bool> {
        if self.literal(b"true").is_some() { Some(true) } else { self.literal(b"false").map(|()| false) }
    }

    fn end(&mut self) -> Option<()> {
        (self.0 == b"}").then_some(())
    }
}
