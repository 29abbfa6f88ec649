//! Known secrets, and whether a text holds one.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A shorter value is not looked for: it would be found everywhere. No key, token or seed is that short.
pub const SECRET_BYTES_MIN: usize = PREFIX;
const PREFIX: usize = 8;

/// Values that must not leave the machine, each in the forms in which it could be written: as it is, escaped in JSON, in hexadecimal,
/// in Base64. There is no `Debug`.
#[derive(Default)]
pub struct Secrets {
    names: Vec<String>,
    /// By the first bytes: which secret, and the whole form.
    forms: HashMap<[u8; PREFIX], Vec<(usize, Vec<u8>)>>,
}

impl Secrets {
    /// Adds a value under a name that may be told. Of more lines each counts; lines of dashes around keys do not. False when
    /// there is nothing in it that can be looked for.
    pub fn add(&mut self, name: &str, value: &str) -> bool {
        let index = self.names.len();
        let mut added = false;
        for line in value.lines().map(str::trim).filter(|line| line.len() >= SECRET_BYTES_MIN && !line.starts_with("---")) {
            let escaped = serde_json::to_string(line).unwrap_or_default();
            let forms = [
                line.to_owned(),
                escaped.trim_matches('"').to_owned(),
                hex::encode(line),
                // The end may be padded, or go on with what follows.
                STANDARD.encode(line).trim_end_matches('=').to_owned(),
            ];
            for form in forms.into_iter().map(String::into_bytes) {
                let Some(prefix) = form.first_chunk::<PREFIX>().copied() else { continue };
                let same = self.forms.entry(prefix).or_default();
                if !same.iter().any(|(_, known)| *known == form) {
                    same.push((index, form));
                }
                added = true;
            }
        }
        if added {
            self.names.push(name.to_owned());
        }
        added
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of the first secret in `bytes`, and where it begins.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<(&str, usize)> {
        for (at, window) in bytes.windows(PREFIX).enumerate() {
            let Some(prefix) = window.first_chunk::<PREFIX>() else { continue };
            for (index, form) in self.forms.get(prefix).into_iter().flatten() {
                if bytes.get(at..).is_some_and(|rest| rest.starts_with(form)) {
                    return self.names.get(*index).map(|name| (name.as_str(), at));
                }
            }
        }
        None
    }
}
