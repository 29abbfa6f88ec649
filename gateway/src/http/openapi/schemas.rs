//! Schemas of the types that are read and written, each once.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use super::super::doc::Shape;

const PLACE: &str = "#/components/schemas/";

/// A type may look otherwise to who writes it than to who reads it: what has a default may be left out in a request, and is
/// always there in an answer.
pub(super) struct Schemas {
    written: SchemaGenerator,
    read: SchemaGenerator,
}

impl Schemas {
    pub fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self { written: settings().for_serialize().into_generator(), read: settings().for_deserialize().into_generator() }
    }

    /// The schema of an answer.
    pub fn answer(&mut self, shape: Shape) -> Value {
        shape(&mut self.written).to_value()
    }

    /// The schema of a request's body.
    pub fn request(&mut self, shape: Shape) -> Value {
        let mut schema = shape(&mut self.read).to_value();
        rename(&mut schema);
        schema
    }

    /// The schema of a type that is written.
    pub fn of<T: JsonSchema>(&mut self) -> Value {
        self.written.subschema_for::<T>().to_value()
    }

    /// Every schema by its name. Those of requests have names of their own: some types are read and written.
    pub fn finish(mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        for (name, mut schema) in self.read.take_definitions(true) {
            rename(&mut schema);
            all.insert(asked(&name), schema);
        }
        all
    }
}

/// The name of a type as it is read.
fn asked(name: &str) -> String {
    if name.ends_with("Request") { name.to_owned() } else { format!("{name}Asked") }
}

/// Lets references lead to the names of what is read.
fn rename(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(reference) if name == "$ref" => {
                        if let Some(name) = reference.strip_prefix(PLACE) {
                            *reference = format!("{PLACE}{}", asked(name));
                        }
                    }
                    other => rename(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        _ => {}
    }
}
