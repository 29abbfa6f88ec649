//! How long one decision takes without I/O: `cargo run --release -p spark-risk --example decision`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example prints, and stops at what is wrong")]

#[path = "../tests/world/mod.rs"]
mod world;

use std::hint::black_box;
use std::time::Instant;

use spark_bus_schema::orders::OrderState;
use spark_bus_schema::subject;
use spark_nats::{Delivery, Effects, Machine};
use spark_risk::Risk;
use world::{World, d};

/// Intents that are judged in one round.
const ORDERS: u32 = 2_000;
const ROUNDS: usize = 15;

fn main() {
    // Twenty strategies with positions, a hundred open orders: what a busy day looks like.
    let mut world = World::new();
    world.limits(|limits| {
        limits.default.exposure_usd_max = d("1000000000");
        limits.default.orders_per_minute_max = u32::MAX;
    });
    for number in 0..100 {
        let strategy = format!("s{}", number % 20);
        world.trade(&strategy, "buy 0.1 @ 100", "100");
        let verdict = world.ask(&strategy, "buy 0.1 @ 99").unwrap();
        world.event(&verdict.order, &[OrderState::Pending, OrderState::Submitted], None);
    }
    let state = world.risk.save();
    let sequence = world.log.len() as u64;
    let intents: Vec<Delivery> = (0..ORDERS)
        .map(|number| {
            let intent = world.wish(&format!("s{}", number % 20), "buy 0.1 @ 100");
            Delivery {
                stream: subject::LEDGER,
                sequence: sequence + u64::from(number) + 1,
                stored_at: world.now,
                subject: subject::intent(&intent.order),
                kind: Some("order_intent.v1".to_owned()),
                headers: vec![],
                payload: spark_bus_schema::encode(&intent).into(),
                pending: 0,
            }
        })
        .collect();
    let (mut decide, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (decoded_before, results) in [(true, &mut decide), (false, &mut whole)] {
            let mut risk = Risk::default();
            risk.load(&state).unwrap();
            let mut effects = Effects::default();
            let events: Vec<_> =
                intents.iter().filter(|_| decoded_before).map(|delivery| Risk::decode(delivery).unwrap()).collect();
            let began = Instant::now();
            if decoded_before {
                for event in events {
                    risk.apply(world.now, event, &mut effects).unwrap();
                }
            } else {
                for delivery in &intents {
                    risk.apply(world.now, Risk::decode(delivery).unwrap(), &mut effects).unwrap();
                }
            }
            results.push(began.elapsed().as_nanos() / u128::from(ORDERS));
            assert_eq!(black_box(effects.items()).len(), ORDERS as usize);
        }
    }
    for (what, mut results) in [("intent to encoded verdict", decide), ("bytes to encoded verdict", whole)] {
        results.sort_unstable();
        println!("{what}: {} ns (median of {ROUNDS} rounds of {ORDERS}; best {} ns)", results[ROUNDS / 2], results[0]);
    }
}
