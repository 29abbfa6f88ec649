//! Texts that nobody can guess.

/// `2 × bytes` hexadecimal digits of the system's randomness.
///
/// # Panics
/// The system has none: nothing that depends on secrets can go on then.
#[must_use]
pub fn hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).expect("the operating system has randomness");
    hex::encode(buffer)
}
