//! Settings of the vendor.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::clock::{CalendarKind, day};
use crate::demo::DEMO_BIST_TOKEN;
use crate::error::Error;

/// The vendor of share prices.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BistConfig {
    /// The bearer key that it accepts.
    pub token: SecretString,
    /// `always`: a session around the clock every day, for demonstrations at any hour. `exchange`: the hours, weekends and holidays of
    /// Borsa Istanbul.
    pub calendar: CalendarKind,
    /// Added to the machine's clock, ms: lets a test begin at any moment of any day.
    pub shift_ms: i64,
    /// How late the vendor's data is, minutes.
    pub delay_minutes: u32,
    /// Calls a minute that an address may make.
    pub per_minute: u32,
    /// Whether it tells how much is bid and offered.
    pub sizes: bool,
    /// Days without trading besides weekends and national holidays, e.g. `2026-05-27`.
    pub holidays: Vec<String>,
    /// Days that end at 12:30.
    pub half_days: Vec<String>,
}

/// Bayrams of 2026 and 2027; weekends among them do no harm.
const HOLIDAYS: [&str; 11] = [
    "2026-03-20",
    "2026-05-27",
    "2026-05-28",
    "2026-05-29",
    "2027-03-09",
    "2027-03-10",
    "2027-03-11",
    "2027-05-16",
    "2027-05-17",
    "2027-05-18",
    "2027-05-19",
];
const HALF_DAYS: [&str; 5] = ["2026-03-19", "2026-05-26", "2026-10-28", "2027-03-08", "2027-10-28"];

impl Default for BistConfig {
    fn default() -> Self {
        Self {
            token: DEMO_BIST_TOKEN.into(),
            calendar: CalendarKind::Always,
            shift_ms: 0,
            delay_minutes: 0,
            per_minute: 600,
            sizes: true,
            holidays: HOLIDAYS.map(str::to_owned).to_vec(),
            half_days: HALF_DAYS.map(str::to_owned).to_vec(),
        }
    }
}

impl BistConfig {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.token.expose_secret().is_empty() {
            return Err(Error::config("bist_vendor.token", "must not be empty"));
        }
        if self.per_minute == 0 {
            return Err(Error::config("bist_vendor.per_minute", "0 would refuse every request; 600 is the default"));
        }
        if self.delay_minutes > 1_440 {
            return Err(Error::config("bist_vendor.delay_minutes", format!("{} must be 0 to 1440", self.delay_minutes)));
        }
        for (field, days) in [("bist_vendor.holidays", &self.holidays), ("bist_vendor.half_days", &self.half_days)] {
            if let Some(wrong) = days.iter().find(|text| day(text).is_none()) {
                return Err(Error::config(field, format!("`{wrong}` is not a day such as 2026-10-28")));
            }
        }
        Ok(())
    }
}
