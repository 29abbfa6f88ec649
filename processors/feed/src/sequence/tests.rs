use proptest::prelude::*;
use spark_bus_schema::market::Side;
use spark_bus_schema::{Fixed, Timestamp};

use super::*;

fn trade(id: u64) -> Trade {
    at(id, i64::try_from(id).unwrap())
}

fn at(trade_id: u64, millis: i64) -> Trade {
    Trade {
        trade_id,
        occurred_at: Timestamp::from_millis(millis),
        received_at: Timestamp::ZERO,
        price: Fixed { mantissa: 1, scale: 0 },
        quantity: Fixed { mantissa: 1, scale: 0 },
        side: Side::Buy,
    }
}

fn trades(ids: &[u64]) -> Vec<Trade> {
    ids.iter().map(|&id| trade(id)).collect()
}

fn published(sequencer: &mut Sequencer, most: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    sequencer.hand_over(|trade| {
        let room = ids.len() < most;
        if room {
            ids.push(trade.trade_id);
        }
        room
    });
    ids
}

fn all(sequencer: &mut Sequencer) -> Vec<u64> {
    published(sequencer, usize::MAX)
}

/// What is published after frames with these ids, and the hole that is left.
fn check(frames: &[u64], want: &[u64], hole: Option<(u64, u64)>) {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    for &id in frames {
        sequencer.offer(trade(id));
    }
    assert_eq!((all(&mut sequencer).as_slice(), sequencer.hole()), (want, hole), "{frames:?}");
}

#[test]
fn frames_are_released_in_order_once_and_wait_behind_a_hole() {
    check(&[], &[], None);
    check(&[5, 6, 7], &[5, 6, 7], None);
    check(&[5, 5, 6, 5, 6], &[5, 6], None);
    check(&[5, 7, 8], &[5], Some((6, 1)));
    check(&[5, 8, 7, 6], &[5, 6, 7, 8], None);
    check(&[5, 9, 7, 6], &[5, 6, 7], Some((8, 1)));
    check(&[5, 3, 4, 6], &[5, 6], None);
}

#[test]
fn an_answer_fills_the_hole_before_what_waits() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    trades(&[5, 9, 10]).into_iter().for_each(|trade| {
        sequencer.offer(trade);
    });
    assert_eq!(all(&mut sequencer), [5]);
    assert_eq!(sequencer.answer(6, &trades(&[6, 7]), false), Answer { filled: 2, ..Answer::default() });
    assert_eq!((all(&mut sequencer), sequencer.hole()), (vec![6, 7], Some((8, 1))));
    assert_eq!(sequencer.answer(8, &trades(&[8, 9, 10, 11]), true), Answer { filled: 2, ..Answer::default() });
    assert_eq!((all(&mut sequencer), sequencer.hole()), (vec![8, 9, 10, 11], None));
}

#[test]
fn ids_that_the_exchange_denies_again_and_again_are_lost_and_counted_and_not_before() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    trades(&[5, 9]).into_iter().for_each(|trade| {
        sequencer.offer(trade);
    });
    for _ in 1..DENIALS_MAX {
        assert_eq!(sequencer.answer(6, &trades(&[8, 9]), true), Answer::default());
        assert_eq!(sequencer.hole(), Some((6, 3)));
    }
    assert_eq!(sequencer.answer(6, &trades(&[8, 9]), true), Answer { filled: 1, lost: 2, garbage: 0 });
    assert_eq!(all(&mut sequencer), [5, 8, 9]);
    // An empty answer is lag, however often it comes.
    sequencer.offer(trade(12));
    for _ in 0..50 {
        assert_eq!(sequencer.answer(10, &[], true), Answer::default());
    }
    assert_eq!(sequencer.hole(), Some((10, 2)));
}

#[test]
fn an_impossible_id_is_thrown_away_once_the_exchange_knows_nothing_near_it() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    trades(&[5, 7]).into_iter().for_each(|trade| {
        sequencer.offer(trade);
    });
    sequencer.offer(at(u64::MAX - 1, 6));
    let garbage: u64 = (0..DENIALS_MAX).map(|_| sequencer.answer(6, &[], true).garbage).sum();
    assert_eq!((garbage, sequencer.hole()), (1, Some((6, 1))), "the one that may be real still waits");
}

#[test]
fn a_first_start_begins_with_what_comes_or_with_the_oldest_there_is() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    assert_eq!((sequencer.next_id(), sequencer.hole()), (None, None));
    sequencer.offer(trade(100));
    assert_eq!(all(&mut sequencer), [100]);

    let mut sequencer = Sequencer::new(Order::Contiguous);
    sequencer.start_at(1);
    sequencer.offer(trade(103));
    assert_eq!(sequencer.answer(1, &trades(&[100, 101, 102, 103]), true), Answer { filled: 3, ..Answer::default() });
    assert_eq!(all(&mut sequencer), [100, 101, 102, 103]);

    let mut sequencer = Sequencer::new(Order::Contiguous);
    sequencer.start_at(1);
    sequencer.offer(trade(103));
    (0..DENIALS_MAX).for_each(|_| assert_eq!(sequencer.answer(1, &[], true), Answer::default()));
    assert_eq!(all(&mut sequencer), [103], "an exchange without a past");
}

#[test]
fn what_the_broker_lost_goes_out_again() {
    let check = |ids: std::ops::RangeInclusive<u64>, stored: u64, want: Vec<u64>, next: u64| {
        let mut sequencer = Sequencer::new(Order::Contiguous);
        ids.clone().for_each(|id| {
            sequencer.offer(trade(id));
        });
        published(&mut sequencer, 4);
        sequencer.rewind(stored);
        assert_eq!((all(&mut sequencer), sequencer.next_id()), (want, Some(next)), "{ids:?} stored {stored}");
    };
    check(1..=6, 4, vec![5, 6], 7);
    check(1..=6, 2, vec![3, 4, 5, 6], 7);
    check(1..=6, 0, vec![1, 2, 3, 4, 5, 6], 7);
    // Another writer was ahead.
    check(1..=6, 5, vec![6], 7);
    check(1..=6, 9, vec![], 10);
    // More is gone than is remembered: it must be fetched.
    check(5..=8, 2, vec![], 3);
}

#[test]
fn what_is_fetched_for_the_broker_comes_before_what_is_remembered() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    (5..=8).for_each(|id| {
        sequencer.offer(trade(id));
    });
    all(&mut sequencer);
    sequencer.rewind(2);
    assert_eq!(sequencer.hole(), Some((3, 2)));
    sequencer.answer(3, &trades(&[3, 4, 5]), false);
    assert_eq!(all(&mut sequencer), [3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_venue_that_counts_anew_is_noticed_by_lower_ids_with_later_times() {
    let mut sequencer = Sequencer::new(Order::Contiguous);
    sequencer.offer(at(1_000, 50));
    sequencer.offer(at(990, 49));
    assert!(!sequencer.is_in_doubt(), "an old trade is just old");
    for id in [2, 1, 3] {
        assert_eq!(sequencer.offer(at(id, 60)), Offer::Old);
    }
    assert!(sequencer.is_in_doubt());
    assert_eq!(all(&mut sequencer), [1_000]);
    sequencer.restart();
    assert_eq!((all(&mut sequencer), sequencer.next_id(), sequencer.is_in_doubt()), (vec![1, 2, 3], Some(4), false));
}

#[test]
fn rising_ids_may_jump() {
    let mut sequencer = Sequencer::new(Order::Rising);
    for id in [10, 500, 400, 500, 501] {
        sequencer.offer(trade(id));
    }
    assert_eq!((all(&mut sequencer), sequencer.hole()), (vec![10, 500, 501], None));
    sequencer.rewind(10);
    assert_eq!(all(&mut sequencer), [500, 501]);
}

/// One thing that happens to a feed.
#[derive(Clone, Debug)]
enum Step {
    /// The exchange trades; the frame arrives unless lost.
    Trade { lost: bool },
    /// A frame comes again.
    Repeat(prop::sample::Index),
    /// A frame overtakes the next one.
    Swap,
    /// The exchange answers, up to so many rows.
    Answer { rows: usize },
    /// A batch is stored.
    Publish { rows: usize },
    /// The broker loses its newest trades.
    Lose(prop::sample::Index),
    /// The feed is killed and starts from what is stored.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::bool::weighted(0.2).prop_map(|lost| Step::Trade { lost }),
        1 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        2 => Just(Step::Swap),
        2 => (0_usize..20).prop_map(|rows| Step::Answer { rows }),
        4 => (1_usize..20).prop_map(|rows| Step::Publish { rows }),
        1 => any::<prop::sample::Index>().prop_map(Step::Lose),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..200)
}

struct World {
    sequencer: Sequencer,
    newest: u64,
    swap: bool,
    stored: Vec<u64>,
}

impl World {
    const FIRST: u64 = 1_000;

    fn new() -> Self {
        let mut world =
            Self { sequencer: Sequencer::new(Order::Contiguous), newest: Self::FIRST, swap: false, stored: Vec::new() };
        world.sequencer.offer(trade(Self::FIRST));
        world.publish(1);
        world
    }

    fn publish(&mut self, rows: usize) {
        self.stored.extend(published(&mut self.sequencer, rows));
    }

    fn answer(&mut self, rows: usize) {
        let Some(from) = self.sequencer.next_id() else { return };
        let page: Vec<Trade> = (from..=self.newest).take(rows).map(trade).collect();
        let complete = page.len() < rows;
        let answer = self.sequencer.answer(from, &page, complete);
        assert_eq!((answer.lost, answer.garbage), (0, 0), "the exchange has every trade");
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Trade { lost } => {
                self.newest += 1;
                if self.swap && !lost {
                    // This one comes first, the one before it right after.
                    self.sequencer.offer(trade(self.newest));
                    self.sequencer.offer(trade(self.newest - 1));
                } else if !lost {
                    self.sequencer.offer(trade(self.newest));
                }
                self.swap = false;
            }
            Step::Repeat(index) => {
                let id =
                    Self::FIRST + u64::try_from(index.index(usize::try_from(self.newest - Self::FIRST + 1).unwrap())).unwrap();
                self.sequencer.offer(trade(id));
            }
            Step::Swap => {
                self.newest += 1;
                self.swap = true;
            }
            Step::Answer { rows } => self.answer(*rows),
            Step::Publish { rows } => self.publish(*rows),
            Step::Lose(index) => {
                // The first trade stays: with nothing stored there is nothing to go on from.
                let kept = 1 + index.index(self.stored.len());
                self.stored.truncate(kept);
                self.sequencer.rewind(*self.stored.last().unwrap());
            }
            Step::Restart => {
                self.sequencer = Sequencer::new(Order::Contiguous);
                self.sequencer.start_after(trade(*self.stored.last().unwrap()));
            }
        }
        assert!(self.stored.windows(2).all(|pair| pair[1] == pair[0] + 1), "{step:?}: {:?}", self.stored);
    }
}

proptest! {
    #[test]
    fn whatever_is_lost_repeated_or_swapped_each_trade_is_stored_once_and_in_order(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.apply(step);
        }
        // In the end the exchange answers in full and the broker takes everything.
        world.answer(usize::MAX);
        world.publish(usize::MAX);
        prop_assert!(world.stored.iter().copied().eq(World::FIRST..=world.newest), "{:?}", world.stored);
    }

    #[test]
    fn rising_ids_are_stored_once_and_in_order(ids in prop::collection::vec(1_u64..100, 0..100)) {
        let mut sequencer = Sequencer::new(Order::Rising);
        for &id in &ids {
            sequencer.offer(trade(id));
        }
        let stored = all(&mut sequencer);
        prop_assert!(stored.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(stored.last(), ids.iter().max());
    }
}
