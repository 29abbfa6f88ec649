//! What each guard lets pass, and what it says when it does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::audit::{AuditDamage, DamageKind};
use spark_bus_schema::control::HaltScope;
use spark_bus_schema::orders::{Epoch, OrderIntent, OrderState};
use spark_bus_schema::risk::{Guard, LimitOverride, Verdict};
use spark_bus_schema::{OrderId, Venue, subject};
use spark_nats::Machine;
use spark_risk::APPROVAL_VALIDITY;
use world::{World, d, verified};

const ALL: [Guard; 11] = [
    Guard::Halt,
    Guard::StalePrice,
    Guard::Filters,
    Guard::Notional,
    Guard::Exposure,
    Guard::Drawdown,
    Guard::Drawdown,
    Guard::KillSwitch,
    Guard::Collar,
    Guard::Rate,
    Guard::Strategy,
];

/// After `story`, what becomes of `order`: none when it is approved.
fn check(story: impl FnOnce(&mut World), order: &str, want: Option<Guard>) {
    let mut world = World::new();
    story(&mut world);
    let verdict = world.ask("s", order).unwrap_or_else(|| panic!("{order}: waits"));
    assert_eq!(verdict.guard, want, "{order}: {}", verdict.reason);
    assert_eq!(verdict.approved, want.is_none());
    let asked: Vec<Guard> = verdict.checks.iter().map(|check| check.guard).collect();
    let until = want.and_then(|want| ALL.iter().position(|guard| *guard == want)).map_or(ALL.len(), |at| at + 1);
    assert!(asked.len() >= until && asked[..] == ALL[..asked.len()], "{order}: {asked:?}");
    assert!(verdict.checks.iter().rev().skip(1).all(|check| check.passed));
}

fn none(_: &mut World) {}

#[test]
fn notional_is_taken_at_the_worse_of_limit_and_mark() {
    check(none, "buy 100 @ 100", None);
    check(none, "buy 99 @ 101.01", None);
    check(none, "buy 100 @ 100.01", Some(Guard::Notional));
    // A cheap limit does not make the order small.
    check(none, "buy 100.001 @ 99", Some(Guard::Notional));
    check(none, "sell 100.001 @ 99", Some(Guard::Notional));
    check(none, "sell 99 @ 101.02", Some(Guard::Notional));
    // Market: ask for buys, bid for sells.
    check(none, "buy 99.991", Some(Guard::Notional));
    check(none, "sell 99.991", None);
    let lower = |world: &mut World| {
        world.limits(|limits| {
            let set = LimitOverride { notional_usd_max: Some(d("500")), ..LimitOverride::default() };
            limits.strategy.insert("s".into(), set);
        });
    };
    check(lower, "buy 5 @ 100", None);
    check(lower, "buy 5.001 @ 100", Some(Guard::Notional));
}

#[test]
fn another_quote_currency_is_converted_and_rounded_up() {
    let mut world = World::new();
    world.mark_of("BTCTRY", d("4000000"), d("0.025"));
    let verdict = world.ask("s", "buy 0.100 @ 4000000 BTCTRY").unwrap();
    assert!(verdict.approved, "{}", verdict.reason);
    let notional = verdict.checks.iter().find(|check| check.guard == Guard::Notional).unwrap();
    assert_eq!((notional.value, notional.limit, notional.unit.as_str()), (Some(d("10000")), Some(d("10000")), "usd"));
    world.mark_of("BTCTRY", d("4000000"), d("0.025000000001"));
    assert_eq!(world.ask("s", "buy 0.100 @ 4000000 BTCTRY").unwrap().guard, Some(Guard::Notional));
}

#[test]
fn exposure_counts_positions_reservations_and_both_signs() {
    let held = |world: &mut World| {
        world.limits(|limits| limits.default.exposure_usd_max = d("1000"));
        world.trade("other", "buy 6 @ 100", "100");
    };
    check(held, "buy 4 @ 100", None);
    check(held, "buy 4.001 @ 100", Some(Guard::Exposure));
    // A sell through zero counts as a short position; one that reduces always passes.
    check(held, "sell 6 @ 100", None);
    check(held, "sell 16 @ 100", None);
    check(held, "sell 16.001 @ 100", Some(Guard::Exposure));
    let reserved = |world: &mut World| {
        held(world);
        assert!(world.ask("other", "buy 3 @ 100").unwrap().approved);
    };
    check(reserved, "buy 1 @ 100", None);
    check(reserved, "buy 1.001 @ 100", Some(Guard::Exposure));
    // An unknown order keeps its worst case; a cancelled one gives it back.
    let unknown = |world: &mut World| {
        held(world);
        let verdict = world.ask("other", "buy 3 @ 100").unwrap();
        world.event(&verdict.order, &[OrderState::Pending, OrderState::Unknown], None);
    };
    check(unknown, "buy 1.001 @ 100", Some(Guard::Exposure));
    let cancelled = |world: &mut World| {
        held(world);
        let verdict = world.ask("other", "buy 3 @ 100").unwrap();
        world.event(&verdict.order, &[OrderState::Pending, OrderState::Submitted, OrderState::Cancelled], None);
    };
    check(cancelled, "buy 4 @ 100", None);
    // The mark decides what a position is worth: it may have grown above the limit by itself.
    let grown = |world: &mut World| {
        held(world);
        world.mark("200");
    };
    check(grown, "buy 0.1 @ 200", Some(Guard::Exposure));
    check(grown, "sell 6 @ 200", None);
    // What is being sold already cannot be sold again as a reduction.
    let selling = |world: &mut World| {
        grown(world);
        assert!(world.ask("other", "sell 6 @ 200").unwrap().approved);
    };
    check(selling, "sell 0.1 @ 200", Some(Guard::Exposure));
}

#[test]
fn a_strategy_that_only_loses_is_stopped_and_may_still_get_out() {
    // 10 000 USD, 15 %: 1 500 may be lost.
    let lost = |price: &'static str| {
        move |world: &mut World| {
            world.trade("s", "buy 50 @ 100", "100");
            world.mark(price);
        }
    };
    check(lost("70"), "buy 1 @ 70", None);
    check(lost("69.99"), "buy 1 @ 70", Some(Guard::Drawdown));
    check(lost("69.99"), "sell 50 @ 70", None);
    check(lost("69.99"), "sell 50.001 @ 70", Some(Guard::Drawdown));
    // From the highest, not from the start: 10 000 + 5 000, then 15 % of that.
    let risen = |price: &'static str| {
        move |world: &mut World| {
            world.trade("s", "buy 50 @ 100", "100");
            world.mark("200").mark(price);
        }
    };
    check(risen("155"), "buy 1 @ 155", None);
    check(risen("154.99"), "buy 1 @ 155", Some(Guard::Drawdown));
    // A good trade raises the highest at once, even when nothing is held afterwards and no mark shows it.
    let sold_well = |world: &mut World| {
        world.balances("1000000");
        world.trade("s", "buy 50 @ 100", "100").trade("s", "sell 50 @ 100", "150").trade("s", "buy 50 @ 100", "100");
        world.mark("62");
    };
    check(sold_well, "buy 1 @ 62", Some(Guard::Drawdown));
    // Realised losses count as well, and a day later the highest is forgotten.
    let closed = |world: &mut World| {
        world.trade("s", "buy 50 @ 100", "100");
        world.mark("69");
        world.trade("s", "sell 50 @ 69", "69");
    };
    check(closed, "buy 1 @ 69", Some(Guard::Drawdown));
    let day_later = |world: &mut World| {
        closed(world);
        world.after(Duration::from_secs(24 * 3600 + 301)).mark("69");
    };
    check(day_later, "buy 1 @ 69", None);
}

#[test]
fn the_whole_account_has_a_drawdown_too() {
    // Two strategies lose 1 200 each: within what each may lose, above what the account of 10 000 may.
    let both = |world: &mut World| {
        for strategy in ["a", "b"] {
            world.trade(strategy, "buy 40 @ 100", "100");
        }
        world.mark("70");
    };
    check(both, "buy 1 @ 70", Some(Guard::Drawdown));
    let richer = |world: &mut World| {
        world.balances("100000");
        both(world);
    };
    check(richer, "buy 1 @ 70", None);
}

#[test]
fn equity_starts_from_the_accounts_value_and_unknown_equity_is_refused() {
    let without = |world: &mut World| {
        world.limits(|limits| limits.default.capital_usd = None);
    };
    check(without, "buy 1 @ 100", Some(Guard::Drawdown));
    let known = |world: &mut World| {
        without(world);
        world.balances("10000");
    };
    check(known, "buy 1 @ 100", None);
    // An empty account says nothing about paper trading with a capital of its own.
    check(
        |world| {
            world.balances("0");
        },
        "buy 1 @ 100",
        None,
    );
    let lost = |world: &mut World| {
        known(world);
        world.trade("s", "buy 50 @ 100", "100");
        world.mark("69.9");
    };
    check(lost, "buy 1 @ 70", Some(Guard::Drawdown));
    // A position elsewhere without a recent mark has no value.
    let other = |world: &mut World| {
        world.mark_of("ETHUSDT", d("10"), d("1"));
        world.trade("s", "buy 1 @ 10 ETHUSDT", "10");
        world.after(Duration::from_secs(301)).mark("100");
    };
    check(other, "buy 1 @ 100", Some(Guard::Drawdown));
}

#[test]
fn the_latest_word_on_the_kill_switch_decides() {
    check(
        |world| {
            world.kill(true);
        },
        "buy 1 @ 100",
        Some(Guard::KillSwitch),
    );
    check(
        |world| {
            world.kill(true).kill(false);
        },
        "buy 1 @ 100",
        None,
    );
    check(
        |world| {
            world.kill(false).kill(true);
        },
        "buy 1 @ 100",
        Some(Guard::KillSwitch),
    );
    // Not even what reduces.
    let held = |world: &mut World| {
        world.trade("s", "buy 1 @ 100", "100");
        world.kill(true);
    };
    check(held, "sell 1 @ 100", Some(Guard::KillSwitch));
}

#[test]
fn a_price_on_the_losing_side_stays_near_the_mark() {
    check(none, "buy 1 @ 105", None);
    check(none, "buy 1 @ 105.01", Some(Guard::Collar));
    check(none, "buy 1 @ 20", None);
    check(none, "sell 1 @ 95", None);
    check(none, "sell 1 @ 94.99", Some(Guard::Collar));
    check(none, "sell 1 @ 200", None);
    // A market order is held against the book.
    let tight = |world: &mut World| {
        world.limits(|limits| limits.default.collar_pct_max = d("0.009"));
    };
    check(tight, "buy 1", Some(Guard::Collar));
    check(tight, "sell 1", Some(Guard::Collar));
}

#[test]
fn filters_are_kept_and_unknown_ones_refuse() {
    check(none, "buy 1.0005 @ 100", Some(Guard::Filters));
    check(none, "buy 1 @ 100.005", Some(Guard::Filters));
    check(none, "buy 0.049 @ 100", Some(Guard::Filters));
    check(none, "buy 0.05 @ 100", None);
    check(none, "buy 9000.001 @ 1", Some(Guard::Filters));
    let mut world = World::empty();
    world.limits(|_| {}).mark("100");
    let verdict = world.ask("s", "buy 1 @ 100").unwrap();
    assert_eq!(verdict.guard, Some(Guard::Filters));
    assert!(verdict.reason.contains("not known"), "{}", verdict.reason);
}

#[test]
fn too_many_orders_of_one_strategy_wait_for_the_next_minute() {
    let busy = |world: &mut World| {
        world.limits(|limits| limits.default.orders_per_minute_max = 3);
        world.trade("s", "buy 10 @ 100", "100");
        for _ in 0..2 {
            assert!(world.ask("s", "buy 1 @ 100").unwrap().approved);
        }
    };
    check(busy, "buy 1 @ 100", Some(Guard::Rate));
    check(busy, "sell 10 @ 100", None);
    let later = |world: &mut World| {
        busy(world);
        world.after(Duration::from_secs(61)).mark("100");
    };
    check(later, "buy 1 @ 100", None);
    // Others are not concerned.
    let mut world = World::new();
    busy(&mut world);
    assert!(world.ask("other", "buy 1 @ 100").unwrap().approved);
}

#[test]
fn a_stopped_strategy_asks_in_vain() {
    check(
        |world| {
            world.strategy("s", false);
        },
        "buy 1 @ 100",
        Some(Guard::Strategy),
    );
    check(
        |world| {
            world.strategy("t", false);
        },
        "buy 1 @ 100",
        None,
    );
    check(
        |world| {
            world.strategy("s", false).strategy("s", true);
        },
        "buy 1 @ 100",
        None,
    );
}

#[test]
fn only_resume_lifts_a_halt() {
    let halted = |world: &mut World| {
        world.reconciled(Some("positions differ"));
    };
    check(halted, "buy 1 @ 100", Some(Guard::Halt));
    let reconciled_again = |world: &mut World| {
        halted(world);
        world.reconciled(None);
    };
    check(reconciled_again, "buy 1 @ 100", Some(Guard::Halt));
    let resumed = |world: &mut World| {
        halted(world);
        world.resume(HaltScope::Exchange(Venue::Binance));
    };
    check(resumed, "buy 1 @ 100", None);
    let elsewhere = |world: &mut World| {
        halted(world);
        world.resume(HaltScope::Exchange(Venue::Btcturk)).resume(HaltScope::Ledger);
    };
    check(elsewhere, "buy 1 @ 100", Some(Guard::Halt));
    let damaged = |world: &mut World| {
        let damage = AuditDamage {
            era: 1,
            first_bad_sequence: 7,
            kind: DamageKind::Truncated,
            detail: "gone".into(),
            advice: "look".into(),
            found_at: world.now,
        };
        world.say(subject::AUDIT_DAMAGE.to_owned(), &damage).unwrap();
    };
    check(damaged, "buy 1 @ 100", Some(Guard::Halt));
    let repaired = |world: &mut World| {
        damaged(world);
        world.resume(HaltScope::Ledger);
    };
    check(repaired, "buy 1 @ 100", None);
}

#[test]
fn what_was_compared_before_a_person_resumed_does_not_halt_again() {
    let mut world = World::new();
    world.reconciled(Some("positions differ"));
    let before = world.now;
    world.after(Duration::from_millis(10)).resume(HaltScope::Exchange(Venue::Binance));
    // It was compared before the resume and stored after it.
    let resumed = std::mem::replace(&mut world.now, before);
    world.reconciled(Some("positions differ"));
    world.now = resumed;
    assert!(world.ask("s", "buy 1 @ 100").unwrap().approved);
    world.after(Duration::from_millis(1)).reconciled(Some("positions differ still"));
    assert_eq!(world.ask("s", "buy 1 @ 100").unwrap().guard, Some(Guard::Halt));
}

fn epoch(world: &mut World) {
    let epoch = Epoch { process: "risk".into(), holder: "test".into(), at: world.now };
    world.say(subject::RISK_EPOCH.to_owned(), &epoch).unwrap();
}

#[test]
fn whoever_takes_over_approves_nothing_before_the_auditor_has_answered() {
    let mut world = World::new();
    epoch(&mut world);
    let (early, late, other) =
        (world.wish("s", "buy 1 @ 100"), world.wish("s", "buy 2 @ 100"), world.wish("s", "buy 1 @ 100 ETHUSDT"));
    for intent in [&early, &late, &other] {
        world.intend(intent).unwrap();
    }
    // Neither a mark nor the state as it was saved opens the way.
    world.mark("100");
    let saved = world.risk.save();
    world.risk.load(&saved).unwrap();
    assert!(world.risk.waits_for_auditor() && world.risk.waiting_count() == 3);
    world.after(Duration::from_secs(2)).time_out(&early.order);
    let refused = &world.verdicts[&early.order];
    assert_eq!(refused.guard, Some(Guard::Halt));
    assert!(refused.reason.contains("until the auditor has said that the LEDGER is whole"), "{}", refused.reason);
    world.say(subject::AUDIT_VERIFIED.to_owned(), &verified(3)).unwrap();
    assert!(world.verdicts[&late.order].approved, "{:?}", world.verdicts[&late.order]);
    assert!(world.ask("s", "buy 1 @ 100").unwrap().approved);
    // One of them has no price, and goes on waiting.
    assert_eq!(world.risk.waiting_count(), 1);
}

#[test]
fn what_waits_for_the_auditor_is_refused_when_it_finds_damage() {
    let mut world = World::new();
    epoch(&mut world);
    assert_eq!(world.ask("s", "buy 1 @ 100"), None);
    let garbage = world.wish("s", "buy 1 @ 100");
    world.say(subject::AUDIT_DAMAGE.to_owned(), &garbage).unwrap();
    let guards: Vec<_> = world.verdicts.values().map(|verdict| verdict.guard).collect();
    assert_eq!(guards, [Some(Guard::Halt)]);
    // Later words that all is well open nothing: a person has to.
    epoch(&mut world);
    world.say(subject::AUDIT_VERIFIED.to_owned(), &verified(3)).unwrap();
    assert_eq!(world.ask("s", "buy 1 @ 100").unwrap().guard, Some(Guard::Halt));
    world.resume(HaltScope::Ledger);
    assert!(world.ask("s", "buy 1 @ 100").unwrap().approved);
}

#[test]
fn a_damage_report_that_cannot_be_read_halts_as_well() {
    let garbage = |world: &mut World| {
        let intent = world.wish("s", "buy 1 @ 100");
        world.say(subject::AUDIT_DAMAGE.to_owned(), &intent).unwrap();
    };
    check(garbage, "buy 1 @ 100", Some(Guard::Halt));
}

#[test]
fn an_intent_waits_for_a_fresh_mark_or_its_time_out() {
    let mut world = World::new();
    world.after(Duration::from_millis(5_001));
    let (a, b) = (world.wish("s", "buy 1 @ 100"), world.wish("s", "buy 2 @ 100"));
    world.intend(&a).unwrap();
    world.intend(&b).unwrap();
    assert_eq!(world.risk.waiting_count(), 2);
    // A mark of another symbol changes nothing.
    world.mark_of("ETHUSDT", d("10"), d("1"));
    assert_eq!(world.risk.waiting_count(), 2);
    world.after(Duration::from_secs(2)).time_out(&a.order);
    let refused = &world.verdicts[&a.order];
    assert_eq!(refused.guard, Some(Guard::StalePrice));
    assert!(refused.reason.contains("7001 ms old, 5000 are allowed, and none came in time"), "{}", refused.reason);
    world.mark("100");
    let approved = &world.verdicts[&b.order];
    assert!(approved.approved);
    assert_eq!(approved.expires_at, approved.decided_at + APPROVAL_VALIDITY);
    assert_eq!((approved.mark.as_ref().unwrap().sequence, approved.decided_on), (approved.decided_on, approved.decided_on));
    // Too late, and said twice: nothing happens.
    let before = world.verdicts.len();
    world.time_out(&b.order).time_out(&a.order).time_out(&OrderId::derive("x", "y"));
    assert_eq!(world.verdicts.len(), before);
}

#[test]
fn a_mark_from_an_old_quote_is_old() {
    let mut world = World::new();
    world.after(Duration::from_secs(6));
    let intent = world.wish("s", "buy 1 @ 100");
    world.intend(&intent).unwrap();
    let mut mark = world.risk_mark();
    mark.received_at = mark.received_at - Duration::from_millis(5_001);
    world.say(subject::mark(Venue::Binance, "BTCUSDT"), &mark).unwrap();
    assert_eq!(world.verdicts[&intent.order].guard, Some(Guard::StalePrice));
}

#[test]
fn a_halted_exchange_answers_without_a_mark() {
    let mut world = World::empty();
    world.limits(|_| {}).reconciled(Some("lost state"));
    assert_eq!(world.ask("s", "buy 1 @ 100").unwrap().guard, Some(Guard::Halt));
}

#[test]
fn a_repeated_intent_is_one_order_and_another_one_under_its_id_is_refused() {
    let check = |story: fn(&mut World, &OrderIntent)| {
        let mut world = World::new();
        let intent = world.wish("s", "buy 1 @ 100");
        story(&mut world, &intent);
        let again = OrderIntent { requested_at: world.now + Duration::from_secs(1), actor: "other".into(), ..intent.clone() };
        world.intend(&again).unwrap();
        assert_eq!(world.risk.duplicates(), 1);
        let other = OrderIntent { quantity: d("2"), ..intent.clone() };
        assert_eq!(world.intend(&other).unwrap_err().reason, "order_id_reused");
        assert!(world.verdicts.len() <= 1);
    };
    // While it waits, while it is open, after it is over, after it was refused.
    check(|world, intent| {
        world.after(Duration::from_secs(60));
        world.intend(intent).unwrap();
    });
    check(|world, intent| world.intend(intent).unwrap());
    check(|world, intent| {
        world.intend(intent).unwrap();
        world.event(&intent.order, &[OrderState::Pending, OrderState::Submitted, OrderState::Cancelled], None);
    });
    check(|world, intent| {
        world.kill(true);
        world.intend(intent).unwrap();
    });
}

#[test]
fn the_record_wins_over_what_would_be_decided_now() {
    let refused = |verdict: &Verdict| {
        let reason = "as recorded".to_owned();
        Verdict { approved: false, guard: Some(Guard::KillSwitch), reason, ..verdict.clone() }
    };
    let reserved = |world: &World| world.risk.book().reserved(Venue::Binance, "BTCUSDT").buy;
    // Ours was yes, the record says no: nothing is reserved.
    let mut world = World::new();
    world.stores = false;
    let own = world.ask("s", "buy 1 @ 100").unwrap();
    assert_eq!(reserved(&world), d("1"));
    world.pending.clear();
    world.say(subject::verdict(&own.order), &refused(&own)).unwrap();
    assert_eq!((reserved(&world), world.risk.diverged()), (Decimal::ZERO, 1));
    // Ours was no, the record says yes: it is reserved.
    let no = world.ask("s", "buy 1 @ 200").unwrap();
    assert!(!no.approved);
    world.say(subject::verdict(&no.order), &Verdict { approved: true, guard: None, ..no.clone() }).unwrap();
    assert_eq!((reserved(&world), world.risk.diverged()), (d("1"), 2));
    // The record comes while the intent still waits here: it waits no longer.
    world.after(Duration::from_secs(60));
    let waiting = world.wish("s", "buy 3 @ 100");
    world.intend(&waiting).unwrap();
    let recorded = Verdict { order: waiting.order.clone(), intent: waiting, ..own.clone() };
    world.say(subject::verdict(&recorded.order), &recorded).unwrap();
    assert_eq!((reserved(&world), world.risk.waiting_count(), world.risk.diverged()), (d("4"), 0, 3));
    // A second record of one order is none.
    assert_eq!(world.say(subject::verdict(&own.order), &own).unwrap_err().reason, "order_decided_twice");
}

#[test]
fn a_message_on_the_subject_of_another_is_refused() {
    let mut world = World::new();
    let (a, b) = (world.wish("s", "buy 1 @ 100"), world.wish("s", "buy 1 @ 100"));
    assert_eq!(world.say(subject::intent(&b.order), &a).unwrap_err().reason, "wrong_subject");
    assert!(world.verdicts.is_empty());
}

#[test]
fn extremes_are_refused_not_miscalculated() {
    let wide = |world: &mut World| {
        world.limits(|limits| {
            limits.default.notional_usd_max = d("1000000000000");
            limits.default.exposure_usd_max = d("1000000000000");
            limits.default.capital_usd = Some(d("1000000000000"));
        });
    };
    let mut world = World::new();
    wide(&mut world);
    for quantity in ["1000000000000", "0.00000001", "0.000000000000000001"] {
        let intent = world.wish("s", &format!("buy {quantity} @ 100"));
        world.intend(&intent).unwrap();
        assert!(!world.verdicts[&intent.order].approved, "{quantity}");
    }
}

impl World {
    /// The newest mark as it would be sent again now.
    fn risk_mark(&self) -> spark_bus_schema::marks::Mark {
        spark_bus_schema::marks::Mark {
            venue: Venue::Binance,
            symbol: "BTCUSDT".into(),
            bid: d("100"),
            ask: d("100"),
            price: d("100"),
            quote_usd: d("1"),
            received_at: self.now,
            feed_sequence: 2,
        }
    }
}
