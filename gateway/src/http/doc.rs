//! What is said of a route in the API's document: its parameters, its body, every answer it can give.
//!
//! Shapes are those of the types that the handlers read and write; nothing here repeats them.

use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::view::revisions::Part;

/// A schema, made when the document is.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What is said of a route.
#[derive(Default)]
pub(super) struct Doc {
    /// More than its summary says.
    pub about: Option<&'static str>,
    pub parameters: Vec<Parameter>,
    pub body: Option<Body>,
    /// Answers that are no problems.
    pub answers: Vec<Answer>,
    /// Kinds of problems by status, beside those that follow from the route's access and method.
    pub problems: Vec<(u16, &'static str)>,
    /// The parts of the picture that it shows: what its entity tag follows from. None: it has no tag.
    pub shows: &'static [Part],
    /// Whether its handler sees to the tag itself.
    pub tags_itself: bool,
    /// Whether it answers a page of a list, with a link to the next one.
    pub is_paged: bool,
    /// Whether the answer ends only when the client or the gateway does.
    pub is_endless: bool,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Header,
}

/// A parameter. Those of the path follow from it.
pub(super) struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub about: &'static str,
    pub required: bool,
    /// Of one value.
    pub schema: Value,
    /// Whether it may be given several times.
    pub repeats: bool,
    pub example: Option<&'static str>,
}

/// A request's body.
pub(super) struct Body {
    pub shape: Shape,
    /// As text: it is also what a wrong body is answered with.
    pub example: &'static str,
}

/// An answer that is no problem.
pub(super) struct Answer {
    pub status: u16,
    pub about: &'static str,
    pub content: Content,
    pub headers: Vec<(&'static str, &'static str)>,
}

/// What an answer holds.
pub(super) enum Content {
    Json(Shape),
    /// A text of that media type.
    Text(&'static str),
    Nothing,
}

/// Answers 200 with a `T` as JSON.
pub(super) fn answers<T: JsonSchema>() -> Doc {
    Doc::default().and(200, "the answer", Content::Json(shape::<T>))
}

/// Answers 200 with a text of that media type.
pub(super) fn answers_text(media_type: &'static str) -> Doc {
    Doc::default().and(200, "the answer", Content::Text(media_type))
}

/// Answers 200 with nothing.
pub(super) fn answers_nothing() -> Doc {
    Doc::default().and(200, "it is done", Content::Nothing)
}

/// Answers with a `T` as JSON and another status than 200.
pub(super) fn answers_with<T: JsonSchema>(status: u16, about: &'static str) -> Doc {
    Doc::default().and(status, about, Content::Json(shape::<T>))
}

impl Doc {
    fn and(mut self, status: u16, about: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, about, content, headers: Vec::new() });
        self
    }

    /// It may also answer a `T` with that status.
    pub fn or<T: JsonSchema>(self, status: u16, about: &'static str) -> Self {
        self.and(status, about, Content::Json(shape::<T>))
    }

    /// It may also answer that status without a body.
    pub fn or_nothing(self, status: u16, about: &'static str) -> Self {
        self.and(status, about, Content::Nothing)
    }

    /// The answer named last carries a header.
    pub fn header(mut self, name: &'static str, about: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, about));
        }
        self
    }

    /// More than the summary says.
    pub fn about(mut self, text: &'static str) -> Self {
        self.about = Some(text);
        self
    }

    /// It reads a `T` as JSON.
    pub fn reads<T: JsonSchema>(mut self, example: &'static str) -> Self {
        self.body = Some(Body { shape: shape::<T>, example });
        self
    }

    fn parameter(mut self, place: Place, name: &'static str, about: &'static str, schema: Value) -> Self {
        self.parameters.push(Parameter { name, place, about, required: false, schema, repeats: false, example: None });
        self
    }

    /// A text in the query.
    pub fn text(self, name: &'static str, example: &'static str, about: &'static str) -> Self {
        self.parameter(Place::Query, name, about, json!({"type": "string"})).example(example)
    }

    /// A text of a form in the query.
    pub fn pattern(self, name: &'static str, pattern: &'static str, example: &'static str, about: &'static str) -> Self {
        self.parameter(Place::Query, name, about, json!({"type": "string", "pattern": pattern})).example(example)
    }

    /// One of some words in the query.
    pub fn word(self, name: &'static str, words: &[&str], about: &'static str) -> Self {
        self.parameter(Place::Query, name, about, json!({"type": "string", "enum": words}))
    }

    /// A whole number in the query; of none, `default`.
    pub fn number(self, name: &'static str, range: RangeInclusive<usize>, default: Option<usize>, about: &'static str) -> Self {
        let mut schema = json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
        if let Some(default) = default {
            schema["default"] = default.into();
        }
        self.parameter(Place::Query, name, about, schema)
    }

    /// `true` or `false` in the query.
    pub fn flag(self, name: &'static str, about: &'static str) -> Self {
        self.parameter(Place::Query, name, about, json!({"type": "boolean"}))
    }

    /// A header of the request.
    pub fn takes_header(self, name: &'static str, schema: Value, about: &'static str) -> Self {
        self.parameter(Place::Header, name, about, schema)
    }

    fn last(mut self, change: impl FnOnce(&mut Parameter)) -> Self {
        if let Some(last) = self.parameters.last_mut() {
            change(last);
        }
        self
    }

    /// The parameter named last must be given.
    pub fn required(self) -> Self {
        self.last(|parameter| parameter.required = true)
    }

    /// The parameter named last may be given several times.
    pub fn repeats(self) -> Self {
        self.last(|parameter| parameter.repeats = true)
    }

    fn example(self, text: &'static str) -> Self {
        self.last(|parameter| parameter.example = Some(text))
    }

    /// A kind of problem that it can answer with.
    pub fn problem(mut self, status: u16, kind: &'static str) -> Self {
        self.problems.push((status, kind));
        self
    }

    /// The parts of the picture that it shows.
    pub fn shows(mut self, parts: &'static [Part]) -> Self {
        self.shows = parts;
        self
    }

    /// Its handler sees to the entity tag itself.
    pub fn tags_itself(mut self) -> Self {
        self.tags_itself = true;
        self
    }

    /// It answers a page of a list: `limit`, and the place of the last row.
    pub fn paged_by_sequence(self, limit: RangeInclusive<usize>, default: usize) -> Self {
        let about = "only rows before this LEDGER sequence: `nextBefore` of the page before";
        let mut doc = self.number("limit", limit, Some(default), "rows in the answer");
        doc = doc.parameter(Place::Query, "before", about, json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}));
        doc.is_paged = true;
        doc
    }

    /// It answers a page of a list: `limit` and `offset`.
    pub fn paged_by_offset(self, limit: RangeInclusive<usize>, default: usize, offset_max: usize) -> Self {
        let mut doc = self.number("limit", limit, Some(default), "rows in the answer").number(
            "offset",
            0..=offset_max,
            Some(0),
            "rows that are left out: `nextOffset` of the page before",
        );
        doc.is_paged = true;
        doc
    }

    /// It can fail because the broker does not confirm.
    pub fn sends(self) -> Self {
        self.problem(503, "not-confirmed")
    }

    /// The answer ends only when the client or the gateway does.
    pub fn endless(mut self) -> Self {
        self.is_endless = true;
        self
    }
}
