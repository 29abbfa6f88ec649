//! `GET /bist/snapshot`: every share of Borsa Istanbul that was ever told, and how old that is. Nothing is not an error.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::query::Params;
use super::{Context, json};
use crate::view::bist::BistAnswer;
use crate::view::status::Word;

/// Every share, and how old that is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BistSnapshot")]
pub struct Told<'a> {
    status: Word,
    #[serde(flatten)]
    bist: BistAnswer<'a>,
}

/// The snapshot.
pub async fn snapshot(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let now = spark_nats::now();
    let view = context.app.view();
    Ok(json(&Told { status: view.status(now).status, bist: view.bist.answer(&view.limits().calendar, now) }))
}
