use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::from_saved;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Named(String),
    Pair(u8, i64),
    Fields { width: f64, note: Option<String> },
    Inside(Box<Self>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Tagged {
    Plain { count: u32 },
    Empty,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct New(i128);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    truth: bool,
    small: i8,
    signed: i64,
    unsigned: u64,
    single: f32,
    double: f64,
    letter: char,
    text: String,
    list: Vec<Option<u16>>,
    by_number: BTreeMap<u32, (String, i16)>,
    shapes: Vec<Shape>,
    tagged: Vec<Tagged>,
    unit: Unit,
    new: New,
    digest: [u8; 4],
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Point),
        ".{0,40}".prop_map(Shape::Named),
        any::<(u8, i64)>().prop_map(|(first, second)| Shape::Pair(first, second)),
        (any::<f64>().prop_filter("comparable", |width| !width.is_nan()), prop::option::of(".{0,3}"))
            .prop_map(|(width, note)| Shape::Fields { width, note }),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| inner.prop_map(|shape| Shape::Inside(Box::new(shape))))
}

fn everything() -> impl Strategy<Value = Everything> {
    let numbers = (any::<bool>(), any::<i8>(), any::<i64>(), any::<u64>(), any::<i128>(), any::<[u8; 4]>());
    let tagged = prop_oneof![any::<u32>().prop_map(|count| Tagged::Plain { count }), Just(Tagged::Empty)];
    let held = (
        prop::collection::vec(any::<Option<u16>>(), 0..40),
        prop::collection::btree_map(any::<u32>(), (".{0,20}", any::<i16>()), 0..20),
        prop::collection::vec(shape(), 0..5),
        prop::collection::vec(tagged, 0..3),
    );
    (numbers, -1e9_f32..1e9, -1e300_f64..1e300, any::<char>(), ".{0,300}", held).prop_map(
        |((truth, small, signed, unsigned, new, digest), single, double, letter, text, held)| {
            let (list, by_number, shapes, tagged) = held;
            let (unit, new) = (Unit, New(new));
            Everything {
                truth,
                small,
                signed,
                unsigned,
                single,
                double,
                letter,
                text,
                list,
                by_number,
                shapes,
                tagged,
                unit,
                new,
                digest,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read_with_names_and_as_rows(value in everything()) {
        let named = rmp_serde::to_vec_named(&value).unwrap();
        let rows = rmp_serde::to_vec(&value).unwrap();
        prop_assert_eq!(&from_saved::<Everything>(&named).unwrap(), &value);
        prop_assert_eq!(&from_saved::<Everything>(&rows).unwrap(), &value);
        let mut reader = Reader::<false>::new(&named, 32);
        prop_assert_eq!(&Everything::deserialize(&mut reader).unwrap(), &value);
        prop_assert!(reader.rest().is_empty());
    }

    #[test]
    fn every_beginning_of_what_was_written_is_refused(value in everything(), at in any::<prop::sample::Index>()) {
        let bytes = rmp_serde::to_vec_named(&value).unwrap();
        prop_assert!(from_saved::<Everything>(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn what_rmp_serde_refuses_is_refused(value in everything(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = rmp_serde::to_vec_named(&value).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let theirs = rmp_serde::from_slice::<Everything>(&bytes);
        if let Ok(ours) = from_saved::<Everything>(&bytes) {
            // Not `==`: the byte may have made a number into none.
            prop_assert_eq!(format!("{ours:?}"), format!("{:?}", theirs.unwrap()));
        }
    }
}

#[test]
fn a_message_is_no_list_of_its_fields() {
    let mut reader = Reader::<false>::new(&[0x92, 1, 2], 32);
    let error = BTreeMap::<u8, u8>::deserialize(&mut reader).unwrap_err();
    assert_eq!(error.to_string(), "invalid type: sequence, expected a map");
}

#[test]
fn numbers_out_of_range_and_of_other_types_say_so() {
    assert_eq!(from_saved::<u8>(&[0xcd, 1, 0]).unwrap_err().to_string(), "invalid value: integer `256`, expected u8");
    assert_eq!(from_saved::<u64>(&[0xff]).unwrap_err().to_string(), "invalid value: integer `-1`, expected u64");
    assert_eq!(from_saved::<u64>(&[0xc3]).unwrap_err().to_string(), "invalid type: boolean `true`, expected u64");
    assert!((from_saved::<f64>(&[0xff]).unwrap() + 1.0).abs() < f64::EPSILON);
}

#[test]
fn nesting_ends_at_the_limit_also_in_what_nobody_reads() {
    let nested = |levels: usize| [vec![0x91; levels], vec![0xc0]].concat();
    let read = |bytes: &[u8]| serde::de::IgnoredAny::deserialize(&mut Reader::<false>::new(bytes, 32)).map(|_| ());
    read(&nested(32)).unwrap();
    assert!(matches!(read(&nested(33)), Err(Error::DepthLimitExceeded)));
    let boxed = (0..40).fold(Shape::Point, |inner, _| Shape::Inside(Box::new(inner)));
    let bytes = rmp_serde::to_vec_named(&boxed).unwrap();
    assert!(matches!(Shape::deserialize(&mut Reader::<false>::new(&bytes, 32)), Err(Error::DepthLimitExceeded)));
}

#[test]
fn bytes_after_the_end_are_refused() {
    assert_eq!(from_saved::<u8>(&[1, 2]).unwrap_err().to_string(), "1 bytes after the end");
}
