//! `spark schema`: the messages for other languages.

mod api;

use std::path::Path;

use serde_json::Value;
use spark_bus_schema::schema::{
    self,
    markdown::{self, StreamDoc},
};
use spark_gateway::http::openapi;
use spark_nats::topology;

use crate::args::SchemaArgs;
use crate::exit::Failure;
use crate::output;
use crate::up::run_file::replace;

/// Prints or writes the documents.
///
/// # Errors
/// Exit 75: the folder cannot be written.
pub fn run(arguments: &SchemaArgs) -> Result<(), Failure> {
    let single = if arguments.markdown {
        Some(("subjects.md", subjects()))
    } else if arguments.openapi {
        Some(("openapi.json", pretty(&openapi::document())))
    } else if arguments.api_markdown {
        Some(("api.md", api::markdown(&openapi::document())))
    } else {
        None
    };
    if let Some((name, text)) = single {
        return match &arguments.out {
            Some(folder) => write(folder, name, &text),
            None => output::line(text.trim_end()),
        };
    }
    let Some(folder) = &arguments.out else {
        let document = if arguments.json_schema { schema::json_schemas() } else { schema::asyncapi() };
        return output::line(&pretty(&document));
    };
    // With a folder and no choice, both: they do not get into each other's way.
    if arguments.asyncapi || !arguments.json_schema {
        write(folder, "asyncapi.json", &pretty(&schema::asyncapi()))?;
    }
    if (arguments.json_schema || !arguments.asyncapi)
        && let Value::Object(kinds) = schema::json_schemas()
    {
        kinds.iter().try_for_each(|(kind, document)| write(folder, &format!("{kind}.schema.json"), &pretty(document)))?;
    }
    Ok(())
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap_or_default()
}

/// The reference of subjects and messages, as `docs/subjects.md` has it.
#[must_use]
pub fn subjects() -> String {
    let streams: Vec<StreamDoc> = topology::described()
        .map(|stream| StreamDoc {
            name: stream.name.to_owned(),
            subjects: stream.subjects.to_vec(),
            description: stream.description.to_owned(),
            kept: stream.kept,
        })
        .collect();
    markdown::document(&streams)
}

fn write(folder: &Path, name: &str, document: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    let text = document.trim_end().to_owned() + "\n";
    replace(&path, text.as_bytes()).map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))?;
    output::line(&path.display().to_string())
}
