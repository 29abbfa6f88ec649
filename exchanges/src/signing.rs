//! Keys and signatures. Pure functions over text; secrets stay inside `secrecy` and are never printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::Sha256;

/// An API key and its secret. `Debug` shows neither.
#[derive(Clone)]
pub struct ApiKey {
    /// The public half, sent in a header. Treated as secret all the same: it identifies the account.
    key: SecretString,
    /// The private half, as the exchange gave it.
    secret: SecretString,
}

/// Why a pair of texts is not a usable key. Never shows the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing, or only blanks.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// It would not fit into a header.
    #[error("the {0} holds blanks, line breaks or characters outside ASCII; was more than the key copied?")]
    NotPlain(&'static str),
    /// BTCTurk secrets are base64.
    #[error("the secret is not base64, as BTCTurk's are; was another exchange's secret given?")]
    NotBase64,
}

impl ApiKey {
    /// From texts; blanks and line ends around them are dropped, as files and pasted values have them.
    ///
    /// # Errors
    /// [`KeyError`] when one is empty or not plain ASCII.
    pub fn new(key: &SecretString, secret: &SecretString) -> Result<Self, KeyError> {
        let clean = |name: &'static str, text: &SecretString| {
            let text = text.expose_secret().trim();
            match text {
                "" => Err(KeyError::Empty(name)),
                _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(KeyError::NotPlain(name)),
                _ => Ok(SecretString::from(text)),
            }
        };
        Ok(Self { key: clean("API key", key)?, secret: clean("API secret", secret)? })
    }

    /// The public half, for the header.
    pub(crate) fn key(&self) -> &str {
        self.key.expose_secret()
    }

    /// Binance REST: lower-case hex HMAC-SHA256 over the query and body **exactly as sent**, percent-encoded, in the order
    /// sent; keyed with the secret's own bytes.
    #[must_use]
    pub fn sign_binance(&self, payload: &str) -> String {
        hex::encode(hmac_sha256(self.secret.expose_secret().as_bytes(), payload.as_bytes()))
    }

    /// Binance WebSocket API: the same over the parameters **sorted by name** and **not** percent-encoded.
    /// `apiKey` is added here; `signature` must not be among the parameters.
    #[must_use]
    pub fn sign_binance_ws(&self, parameters: &[(&str, &str)]) -> String {
        let mut sorted = parameters.to_vec();
        sorted.push(("apiKey", self.key()));
        sorted.sort_unstable();
        let payload = sorted.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        self.sign_binance(&payload)
    }

    /// BTCTurk `X-Signature`: base64 HMAC-SHA256 over public key and stamp, keyed with the **decoded** secret. The login of
    /// the WebSocket signs the nonce in the stamp's place.
    ///
    /// # Errors
    /// [`KeyError::NotBase64`].
    pub fn sign_btcturk(&self, stamp_ms: i64) -> Result<String, KeyError> {
        let secret: SecretSlice<u8> = BASE64.decode(self.secret.expose_secret()).map_err(|_| KeyError::NotBase64)?.into();
        let message = format!("{}{stamp_ms}", self.key());
        Ok(BASE64.encode(hmac_sha256(secret.expose_secret(), message.as_bytes())))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(redacted)")
    }
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Percent-encodes one parameter value: `A–Z a–z 0–9 - _ . ~` stay, every other byte becomes `%XX` in upper case.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `a=1&b=2`, values percent-encoded, in the order given: the order that is signed is the order that is sent.
#[must_use]
pub fn query(parameters: &[(&str, String)]) -> String {
    parameters.iter().map(|(name, value)| format!("{name}={}", percent_encode(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
    const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";

    fn api_key(key: &str, secret: &str) -> Result<ApiKey, KeyError> {
        ApiKey::new(&SecretString::from(key), &SecretString::from(secret))
    }

    #[test]
    fn binance_rest_signs_the_encoded_query_in_the_order_sent() {
        let key = api_key(KEY, SECRET).unwrap();
        let check = |payload: &str, want: &str| assert_eq!(key.sign_binance(payload), want, "{payload}");
        let order = |symbol: &str| {
            query(&[
                ("symbol", symbol.to_owned()),
                ("side", "BUY".to_owned()),
                ("type", "LIMIT".to_owned()),
                ("timeInForce", "GTC".to_owned()),
                ("quantity", "1".to_owned()),
                ("price", "0.1".to_owned()),
                ("recvWindow", "5000".to_owned()),
                ("timestamp", "1499827319559".to_owned()),
            ])
        };
        check(&order("LTCBTC"), "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71");
        let full_width = order("１２３４５６");
        assert!(full_width.starts_with("symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&"));
        check(&full_width, "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3");
        check("timestamp=1499827319559&recvWindow=5000", "6cd35332399b004466463b9ad65a112a14f31fb9ddfd5e19bd7298fbd491dbc7");
    }

    #[test]
    fn binance_websocket_signs_the_raw_parameters_sorted_by_name() {
        let key = api_key(KEY, SECRET).unwrap();
        let order = [
            ("symbol", "BTCUSDT"),
            ("side", "SELL"),
            ("type", "LIMIT"),
            ("timeInForce", "GTC"),
            ("quantity", "0.01000000"),
            ("price", "52000.00"),
            ("recvWindow", "100"),
            ("timestamp", "1645423376532"),
        ];
        assert_eq!(key.sign_binance_ws(&order), "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24");
        assert_eq!(
            key.sign_binance_ws(&[("timestamp", "1747385641636")]),
            "681110a6057ad58657af22f5640fab9dd17418834cdfccdc81be8b0f7b2cde3e"
        );
    }

    #[test]
    fn btcturk_signs_key_and_stamp_with_the_decoded_secret() {
        let key = api_key("11111111-2222-3333-4444-555555555555", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
        assert_eq!(key.sign_btcturk(1_700_000_000_000).unwrap(), "uIbieNveCKUVO8fHeBoNZw1c/jcNOaLQ1L7hOQpYIQ4=");
        assert_eq!(key.sign_btcturk(3_000).unwrap(), "LQLqy4DLHVfwTujp7LNhQHe9efYXzHkWYPiVy5oIOVI=", "login with nonce 3000");
        assert_eq!(api_key("a", "not-base64!").unwrap().sign_btcturk(0), Err(KeyError::NotBase64));
    }

    #[test]
    fn unusable_keys_are_refused_without_being_shown() {
        let check = |key: &str, secret: &str, want: KeyError| {
            let error = api_key(key, secret).map(|_| ()).unwrap_err();
            assert_eq!(error, want);
            assert!(!error.to_string().contains("hunter2"));
        };
        check("", "s", KeyError::Empty("API key"));
        check("k", " \n", KeyError::Empty("API secret"));
        check("k", "hunter2 hunter2", KeyError::NotPlain("API secret"));
        check("hünter2", "s", KeyError::NotPlain("API key"));
        let shown = format!("{:?}", api_key("hunter2", "hunter3").unwrap());
        assert_eq!(shown, "ApiKey(redacted)");
    }
}
