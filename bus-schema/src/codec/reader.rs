//! Reads MessagePack for serde.
//!
//! `rmp_serde`'s decoder compiles every form of every value again for every type that is read, which was more than half of
//! this crate and a good part of all others. Here what a byte means is decided once, in [`Input::token`], and what is
//! compiled for a type is only what that type can be.

#[cfg(test)]
mod tests;

use rmp_serde::decode::Error;
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

/// One value, or the head of one that holds others.
#[derive(Clone, Copy)]
enum Token<'de> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'de [u8]),
    Bytes(&'de [u8]),
    List(u32),
    Map(u32),
}

/// What is left to read. Nothing here depends on what is read, so it is compiled once.
struct Input<'de> {
    rest: &'de [u8],
    /// How many lists and maps may still be open inside each other.
    depth: u16,
}

#[cold]
#[inline(never)]
fn cut_short() -> Error {
    Error::InvalidDataRead(std::io::ErrorKind::UnexpectedEof.into())
}

#[cold]
#[inline(never)]
fn refused(token: Token<'_>, expected: &dyn Expected) -> Error {
    let unexpected = match token {
        Token::Nil => Unexpected::Unit,
        Token::Bool(value) => Unexpected::Bool(value),
        Token::Unsigned(value) => Unexpected::Unsigned(value),
        Token::Signed(value) => Unexpected::Signed(value),
        Token::Float(value) => Unexpected::Float(value),
        Token::Text(bytes) => str::from_utf8(bytes).map_or(Unexpected::Bytes(bytes), Unexpected::Str),
        Token::Bytes(bytes) => Unexpected::Bytes(bytes),
        Token::List(_) => Unexpected::Seq,
        Token::Map(_) => Unexpected::Map,
    };
    Error::invalid_type(unexpected, expected)
}

impl<'de> Input<'de> {
    fn take(&mut self, count: usize) -> Result<&'de [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<[u8; BYTES], Error> {
        let (taken, rest) = self.rest.split_first_chunk::<BYTES>().ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn length8(&mut self) -> Result<usize, Error> {
        Ok(usize::from(u8::from_be_bytes(self.number()?)))
    }

    fn length16(&mut self) -> Result<u32, Error> {
        Ok(u32::from(u16::from_be_bytes(self.number()?)))
    }

    fn length32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.number()?))
    }

    #[inline(never)]
    fn token(&mut self) -> Result<Token<'de>, Error> {
        let [first] = self.number()?;
        Ok(match first {
            0x00..=0x7f => Token::Unsigned(u64::from(first)),
            0x80..=0x8f => Token::Map(u32::from(first & 0x0f)),
            0x90..=0x9f => Token::List(u32::from(first & 0x0f)),
            0xa0..=0xbf => Token::Text(self.take(usize::from(first & 0x1f))?),
            0xc0 => Token::Nil,
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => self.length8().and_then(|length| self.take(length)).map(Token::Bytes)?,
            0xc5 => self.length16().and_then(|length| self.take(length as usize)).map(Token::Bytes)?,
            0xc6 => self.length32().and_then(|length| self.take(length as usize)).map(Token::Bytes)?,
            0xca => Token::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Token::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Token::Unsigned(u64::from(u8::from_be_bytes(self.number()?))),
            0xcd => Token::Unsigned(u64::from(u16::from_be_bytes(self.number()?))),
            0xce => Token::Unsigned(u64::from(u32::from_be_bytes(self.number()?))),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.number()?)),
            0xd0 => Token::Signed(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Token::Signed(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Token::Signed(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Token::Signed(i64::from_be_bytes(self.number()?)),
            0xd9 => self.length8().and_then(|length| self.take(length)).map(Token::Text)?,
            0xda => self.length16().and_then(|length| self.take(length as usize)).map(Token::Text)?,
            0xdb => self.length32().and_then(|length| self.take(length as usize)).map(Token::Text)?,
            0xdc => Token::List(self.length16()?),
            0xdd => Token::List(self.length32()?),
            0xde => Token::Map(self.length16()?),
            0xdf => Token::Map(self.length32()?),
            0xe0..=0xff => Token::Signed(i64::from(i8::from_be_bytes([first]))),
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(foreign(first)),
        })
    }

    #[inline(never)]
    fn text(&mut self, expected: &dyn Expected) -> Result<&'de str, Error> {
        match self.token()? {
            Token::Text(bytes) => str::from_utf8(bytes).map_err(Error::Utf8Error),
            other => Err(refused(other, expected)),
        }
    }

    #[inline(never)]
    fn list(&mut self, expected: &dyn Expected) -> Result<u32, Error> {
        match self.token()? {
            Token::List(count) => Ok(count),
            other => Err(refused(other, expected)),
        }
    }

    #[inline(never)]
    fn map(&mut self, expected: &dyn Expected) -> Result<u32, Error> {
        match self.token()? {
            Token::Map(count) => Ok(count),
            other => Err(refused(other, expected)),
        }
    }

    fn is_list_next(&self) -> bool {
        matches!(self.rest.first(), Some(0x90..=0x9f | 0xdc | 0xdd))
    }

    /// Takes a nil, if that comes next.
    fn nil(&mut self) -> bool {
        match self.rest.split_first() {
            Some((0xc0, rest)) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn open(&mut self) -> Result<(), Error> {
        self.depth = self.depth.checked_sub(1).ok_or(Error::DepthLimitExceeded)?;
        Ok(())
    }

    /// `left` entries of a list or map of `count` were not asked for: it is longer than what is read.
    fn close(&mut self, count: u32, left: u32) -> Result<(), Error> {
        self.depth += 1;
        if left == 0 { Ok(()) } else { Err(Error::LengthMismatch(count - left)) }
    }

    #[inline(never)]
    fn skip(&mut self) -> Result<(), Error> {
        let count = match self.token()? {
            Token::List(count) => u64::from(count),
            Token::Map(count) => 2 * u64::from(count),
            _ => return Ok(()),
        };
        self.open()?;
        for _ in 0..count {
            self.skip()?;
        }
        self.depth += 1;
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn foreign(first: u8) -> Error {
    Error::Syntax(format!("byte {first:#04x} begins an extension type or nothing; expected a plain value"))
}

/// Reads values of Rust types. With `ROWS`, structs may also be lists of their fields in order, as compact states are.
pub(super) struct Reader<'de, const ROWS: bool> {
    input: Input<'de>,
}

impl<'de, const ROWS: bool> Reader<'de, ROWS> {
    pub(super) fn new(bytes: &'de [u8], depth: u16) -> Self {
        Self { input: Input { rest: bytes, depth } }
    }

    pub(super) fn rest(&self) -> &'de [u8] {
        self.input.rest
    }

    fn entries<V: Visitor<'de>>(&mut self, count: u32, visitor: V) -> Result<V::Value, Error> {
        self.input.open()?;
        let mut entries = Entries { reader: self, left: count };
        let value = visitor.visit_map(&mut entries)?;
        let left = entries.left;
        self.input.close(count, left)?;
        Ok(value)
    }

    fn elements<V: Visitor<'de>>(&mut self, count: u32, visitor: V) -> Result<V::Value, Error> {
        self.input.open()?;
        let mut elements = Entries { reader: self, left: count };
        let value = visitor.visit_seq(&mut elements)?;
        let left = elements.left;
        self.input.close(count, left)?;
        Ok(value)
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.input.token()? {
                Token::Unsigned(value) => visitor.visit_u64(value),
                Token::Signed(value) => visitor.visit_i64(value),
                other => Err(refused(other, &visitor)),
            }
        })*
    };
}

macro_rules! floats {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.input.token()? {
                Token::Float(value) => visitor.visit_f64(value),
                Token::Unsigned(value) => visitor.visit_u64(value),
                Token::Signed(value) => visitor.visit_i64(value),
                other => Err(refused(other, &visitor)),
            }
        })*
    };
}

macro_rules! texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = self.input.text(&visitor)?;
            visitor.visit_str(text)
        })*
    };
}

macro_rules! bytes {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.input.token()? {
                Token::Bytes(bytes) => visitor.visit_bytes(bytes),
                Token::List(count) => self.elements(count, visitor),
                other => Err(refused(other, &visitor)),
            }
        })*
    };
}

impl<'de, const ROWS: bool> Deserializer<'de> for &mut Reader<'de, ROWS> {
    type Error = Error;

    integers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);
    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64);
    floats!(deserialize_f32 deserialize_f64);
    texts!(deserialize_char deserialize_str deserialize_string deserialize_identifier);
    bytes!(deserialize_bytes deserialize_byte_buf);

    fn is_human_readable(&self) -> bool {
        false
    }

    /// For types that find out what they are from what they meet.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            Token::Float(value) => visitor.visit_f64(value),
            Token::Text(bytes) => visitor.visit_str(str::from_utf8(bytes).map_err(Error::Utf8Error)?),
            Token::Bytes(bytes) => visitor.visit_bytes(bytes),
            Token::List(count) => self.elements(count, visitor),
            Token::Map(count) => self.entries(count, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Bool(value) => visitor.visit_bool(value),
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Unsigned(value) => visitor.visit_i128(i128::from(value)),
            Token::Signed(value) => visitor.visit_i128(i128::from(value)),
            Token::Bytes(bytes) => match bytes.try_into() {
                Ok(bytes) => visitor.visit_i128(i128::from_be_bytes(bytes)),
                Err(_) => Err(Error::LengthMismatch(16)),
            },
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Unsigned(value) => visitor.visit_u128(u128::from(value)),
            Token::Bytes(bytes) => match bytes.try_into() {
                Ok(bytes) => visitor.visit_u128(u128::from_be_bytes(bytes)),
                Err(_) => Err(Error::LengthMismatch(16)),
            },
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.input.nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Nil => visitor.visit_unit(),
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Nil | Token::List(0) => visitor.visit_unit(),
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.input.list(&visitor)?;
        self.elements(count, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.input.map(&visitor)?;
        self.entries(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if ROWS && self.input.is_list_next() { self.deserialize_seq(visitor) } else { self.deserialize_map(visitor) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.input.token()? {
            Token::Text(bytes) => {
                let name: StrDeserializer<'_, Error> = str::from_utf8(bytes).map_err(Error::Utf8Error)?.into_deserializer();
                visitor.visit_enum(name)
            }
            Token::Map(1) => {
                self.input.open()?;
                let value = visitor.visit_enum(Variant { reader: self })?;
                self.input.depth += 1;
                Ok(value)
            }
            Token::Map(count) => Err(Error::LengthMismatch(count)),
            other => Err(refused(other, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.input.skip()?;
        visitor.visit_unit()
    }
}

/// What is inside a list or map.
struct Entries<'a, 'de, const ROWS: bool> {
    reader: &'a mut Reader<'de, ROWS>,
    left: u32,
}

impl<'de, const ROWS: bool> SeqAccess<'de> for Entries<'_, 'de, ROWS> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

impl<'de, const ROWS: bool> MapAccess<'de> for Entries<'_, 'de, ROWS> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// A variant with content: a map of its name to that.
struct Variant<'a, 'de, const ROWS: bool> {
    reader: &'a mut Reader<'de, ROWS>,
}

impl<'de, const ROWS: bool> EnumAccess<'de> for Variant<'_, 'de, ROWS> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.reader.input.text(&"the name of a variant")?.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, const ROWS: bool> VariantAccess<'de> for Variant<'_, 'de, ROWS> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        if self.reader.input.nil() { Ok(()) } else { Err(Error::invalid_type(Unexpected::NewtypeVariant, &"unit variant")) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.reader.deserialize_struct("", fields, visitor)
    }
}
