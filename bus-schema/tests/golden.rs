//! Golden bytes: every kind and version ever shipped decodes for ever, and today's bytes are the recorded ones.
//! A new kind: run with `SPARK_WRITE_GOLDEN=1` once and commit the file. An existing file is never rewritten.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::catalogue::{self, entries};
use spark_bus_schema::decimal::Fixed;
use spark_bus_schema::market::{Side, TickBatch, Trade};
use spark_bus_schema::portfolio::{Balances, PriceAnomaly};
use spark_bus_schema::telemetry::Windows;
use spark_bus_schema::{Decimal, Message, Timestamp, Venue, decode, encode};

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn todays_bytes_are_the_recorded_ones() {
    for entry in entries() {
        let path = golden_dir().join(format!("{}.msgpack", entry.kind));
        let bytes = (entry.sample)();
        if std::env::var_os("SPARK_WRITE_GOLDEN").is_some() && !path.exists() {
            fs::write(&path, &bytes).unwrap();
        }
        let recorded = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(recorded == bytes, "{}: the bytes changed; a change that old readers misread needs a new version", entry.kind);
    }
}

#[test]
fn every_recorded_kind_decodes_for_ever() {
    let mut count = 0;
    for file in fs::read_dir(golden_dir()).unwrap() {
        let path = file.unwrap().path();
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let entry = catalogue::find(&kind).unwrap_or_else(|| panic!("{kind} is recorded but this build cannot read it"));
        let value = (entry.to_json)(&fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(value.is_object());
        count += 1;
    }
    let kinds: std::collections::BTreeSet<_> = entries().iter().map(|entry| entry.kind.to_string()).collect();
    assert_eq!(count, kinds.len());
}

#[test]
fn an_unknown_field_is_skipped_so_that_fields_can_be_added() {
    let mut bytes = (catalogue::find("breaker_command.v1").unwrap().sample)();
    bytes[0] += 1; // a fixmap with one more entry
    bytes.extend_from_slice(&[0xa3, b'n', b'e', b'w', 0xc3]);
    let value = (catalogue::find("breaker_command.v1").unwrap().to_json)(&bytes).unwrap();
    assert_eq!(value["mode"], "open");
}

#[test]
fn nesting_does_not_reach_the_end_of_a_stack() {
    for opener in [0x91, 0x81] {
        let nested: Vec<u8> = match opener {
            0x91 => vec![opener; 900_000],
            // A map whose only key is `a` and whose value is such a map.
            _ => [opener, 0xa1, b'a'].repeat(300_000),
        };
        let bytes = [b"\x81\xa3new".as_slice(), &nested].concat();
        for entry in entries() {
            assert_eq!((entry.to_json)(&bytes).unwrap_err().reason(), "malformed", "{}", entry.kind);
        }
    }
}

#[test]
fn what_cannot_be_true_is_refused() {
    fn check<T: Message>(change: impl FnOnce(&mut T), part: &str) {
        let entry = catalogue::find(&T::KIND.to_string()).unwrap();
        let mut message: T = decode(Some(&T::KIND.to_string()), &(entry.sample)()).unwrap();
        change(&mut message);
        let error = decode::<T>(Some(&T::KIND.to_string()), &encode(&message)).map(|_| ()).unwrap_err();
        assert!(error.reason() == "invalid" && error.to_string().contains(part), "{error}");
    }
    check::<Windows>(|windows| windows.values[0].value = Some(f64::NAN), "value is not a finite number");
    check::<Windows>(|windows| windows.values[0].warning = Some(f64::INFINITY), "warning is not a finite number");
    check::<Alert>(|alert| alert.threshold = Some(f64::NAN), "threshold: not a finite number");
    check::<PriceAnomaly>(|anomaly| anomaly.seen = -Decimal::ONE, "seen: -1 is negative");
    check::<PriceAnomaly>(|anomaly| anomaly.asset.clear(), "asset: empty");
    check::<Balances>(|balances| balances.balances[0].usd_value = Some(-Decimal::ONE), "usd_value -1 is negative");
    check::<Balances>(
        |balances| {
            let row = &mut balances.balances[0];
            (row.free, row.total) = (-row.locked, Decimal::ZERO);
        },
        "is negative",
    );
    check::<Balances>(
        |balances| {
            balances.balances[0].usd_value = Some(Decimal::MAX);
            balances.balances.push(balances.balances[0].clone());
        },
        "the sum is too large",
    );
}

#[test]
fn wrong_envelopes_are_told_apart() {
    let bytes = (catalogue::find("tick_batch.v1").unwrap().sample)();
    let check = |header: Option<&str>, payload: &[u8], want: &str| {
        assert_eq!(decode::<TickBatch>(header, payload).unwrap_err().reason(), want, "{header:?}");
    };
    check(None, &bytes, "missing_kind");
    check(Some("alert.v1"), &bytes, "wrong_kind");
    check(Some("tick_batch"), &bytes, "unknown_version");
    check(Some("tick_batch.v2"), &bytes, "unknown_version");
    check(Some("tick_batch.v1"), &bytes[..bytes.len() - 1], "malformed");
    check(Some("tick_batch.v1"), &[bytes.as_slice(), &[0]].concat(), "trailing_bytes");
    check(Some("tick_batch.v1"), &vec![0; 1024 * 1024 + 1], "too_large");
    let mut batch: TickBatch = decode(Some("tick_batch.v1"), &bytes).unwrap();
    batch.price.values[0] = -1;
    check(Some("tick_batch.v1"), &encode(&batch), "invalid");
    batch.price.values[0] = 1;
    batch.trade_id.reverse();
    check(Some("tick_batch.v1"), &encode(&batch), "invalid");
}

proptest! {
    #[test]
    fn no_bytes_panic_any_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        for entry in entries() {
            let _ = (entry.to_json)(&bytes);
        }
    }

    #[test]
    fn one_flipped_byte_never_panics(position in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        for entry in entries() {
            let mut bytes = (entry.sample)();
            let at = position.index(bytes.len());
            bytes[at] ^= flip;
            let _ = (entry.to_json)(&bytes);
        }
    }

    #[test]
    fn trades_survive_the_wire_exactly(rows in proptest::collection::vec((1..i64::from(u32::MAX), 0..9_u8, 1..i64::from(u32::MAX), 0..9_u8, any::<bool>()), 1..50)) {
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        let mut kept = Vec::new();
        for (row, (price, price_scale, quantity, quantity_scale, buy)) in rows.into_iter().enumerate() {
            let trade = Trade {
                trade_id: row as u64,
                occurred_at: Timestamp::from_millis(row as i64),
                received_at: Timestamp::from_nanos(row as i64 + 1),
                price: Fixed { mantissa: price, scale: price_scale },
                quantity: Fixed { mantissa: quantity, scale: quantity_scale },
                side: if buy { Side::Buy } else { Side::Sell },
            };
            if batch.push(&trade).is_ok() {
                kept.push(trade);
            }
        }
        let back: TickBatch = decode(Some(&TickBatch::KIND.to_string()), &encode(&batch)).unwrap();
        prop_assert_eq!(back.rows().count(), kept.len());
        for (got, want) in back.rows().zip(&kept) {
            prop_assert_eq!((got.price.to_decimal(), got.quantity.to_decimal()), (want.price.to_decimal(), want.quantity.to_decimal()));
            prop_assert_eq!((got.trade_id, got.occurred_at, got.received_at, got.side), (want.trade_id, want.occurred_at, want.received_at, want.side));
        }
    }
}
