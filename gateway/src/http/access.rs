//! Who may use a route: looked up in the one table of routes before a handler runs.

use std::net::IpAddr;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::orders::NAME_CHARS_MAX;

use super::problem::Problem;
use super::server::Peer;
use super::{Context, json};
use crate::app::App;
use crate::auth::{ADMIN, ADMIN_TOKEN_VARIABLE, Answer, Identity, Role, TOKEN_CHARS_MIN};

/// On whose behalf somebody acts, when the request says so; the token says that it may.
const ACTOR_HEADER: &str = "x-spark-actor";
/// What a WebSocket's subprotocol begins with that carries a token: browsers send no other header.
const BEARER_PROTOCOL: &str = "bearer.";

/// What a route asks of whoever uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing, ever: a token is not looked at.
    Open,
    /// Nothing; but a token that is offered must be right.
    Anyone,
    /// A viewer's token, unless reading is open to everybody.
    Read,
    /// A token of this role, or one that may more.
    Role(Role),
}

impl Access {
    /// The role that it takes; none: no token.
    #[must_use]
    pub fn role(self, reading_open: bool) -> Option<Role> {
        match self {
            Self::Open | Self::Anyone => None,
            Self::Read => (!reading_open).then_some(Role::Viewer),
            Self::Role(role) => Some(role),
        }
    }
}

/// Who asks. Handlers take it as an argument; the layer of their route has let it in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    identity: Option<Identity>,
    actor: String,
}

impl Caller {
    /// Name for the audit: the token's, with `X-Spark-Actor` when it says for whom. Whoever has the first administrator's
    /// token has no other name.
    pub fn actor(&self) -> String {
        self.actor.clone()
    }

    /// As [`actor`](Self::actor), where the body says for whom.
    pub fn actor_for(&self, whom: &str) -> String {
        match &self.identity {
            Some(Identity { token: Some(_), name, .. }) if name != whom => format!("{name}/{whom}"),
            _ => whom.to_owned(),
        }
    }

    /// Whose token it is; none without one.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// For what takes more than its route: a part of what it does.
    pub fn may(&self, role: Role, what: &str) -> Result<(), Problem> {
        match &self.identity {
            Some(identity) if identity.role >= role => Ok(()),
            Some(identity) => Err(too_small(identity, role, what)),
            None => Err(missing(role)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Every route of the table has the layer; without it nobody is let in.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Of one route: its access.
#[derive(Clone)]
pub(super) struct Gate {
    pub context: Context,
    pub access: Access,
}

/// Lets a request in, or says what is missing.
pub(super) async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match admit(&gate, request.headers(), request.uri().path(), peer(&request)).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn admit(gate: &Gate, headers: &HeaderMap, path: &str, client: Option<IpAddr>) -> Result<Caller, Problem> {
    let app = &gate.context.app;
    let identity = match token(headers) {
        // What is open to everybody does not fail over a wrong token: nobody reads it there.
        Some(offered) if gate.access != Access::Open => Some(known(app, &offered, client).await?),
        _ => None,
    };
    match (gate.access.role(app.config.reading_is_open()), &identity) {
        (Some(role), None) if app.authority.knows_nobody() => Err(switched_off(role)),
        (Some(role), None) => Err(missing(role)),
        (Some(role), Some(identity)) if identity.role < role => Err(too_small(identity, role, path)),
        _ => Ok(Caller { actor: actor(headers, identity.as_ref())?, identity }),
    }
}

/// Whose token it is. A wrong one is answered late, and the later the more of them there were.
async fn known(app: &App, offered: &str, client: Option<IpAddr>) -> Result<Identity, Problem> {
    if app.authority.slow.is_full(client) {
        return Err(too_many_wrong());
    }
    match app.authority.look_up(offered, spark_nats::now()) {
        Answer::Known(identity) => Ok(identity),
        Answer::Nobody => Err(switched_off(Role::Viewer)),
        Answer::Unknown => {
            tracing::warn!(client = client.map(tracing::field::display), "a wrong token");
            let turn = app.authority.slow.wrong(client).ok_or_else(too_many_wrong)?;
            tokio::time::sleep(turn.delay).await;
            Err(wrong())
        }
    }
}

/// The token that a request offers.
pub(super) fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // Another scheme, or bytes that are no text: offered, and wrong.
        let text = value.to_str().unwrap_or_default();
        return Some(text.strip_prefix("Bearer ").or_else(|| text.strip_prefix("bearer ")).unwrap_or_default().trim().to_owned());
    }
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut words = protocols.flat_map(|value| value.split(',')).map(str::trim);
    words.find_map(|word| word.strip_prefix(BEARER_PROTOCOL)).map(str::to_owned)
}

/// Whether a request carries a token of at least this role. Costs nothing but the look: for what must pass whatever else waits.
pub(super) fn may(app: &App, headers: &HeaderMap, role: Role) -> bool {
    let identity = token(headers).map(|offered| app.authority.look_up(&offered, spark_nats::now()));
    matches!(identity, Some(Answer::Known(identity)) if identity.role >= role)
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(address))| address.ip())
}

fn actor(headers: &HeaderMap, identity: Option<&Identity>) -> Result<String, Problem> {
    let name = identity.map_or(ADMIN, |identity| identity.name.as_str());
    let Some(value) = headers.get(ACTOR_HEADER) else { return Ok(name.to_owned()) };
    let text = value.to_str().unwrap_or_default().trim();
    let whole = Caller { identity: identity.cloned(), actor: String::new() }.actor_for(text);
    if text.is_empty() || text.chars().any(char::is_control) || whole.chars().count() > NAME_CHARS_MAX {
        let fix = format!("1 to {NAME_CHARS_MAX} printable ASCII characters with the token's name, or no such header");
        return Err(Problem::bad_value("header: X-Spark-Actor", "not a name".to_owned(), fix));
    }
    Ok(whole)
}

fn unauthorized(detail: &str, fix: String) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "This needs a token")
        .place("header: Authorization")
        .detail(detail.to_owned())
        .fix(fix)
}

fn missing(role: Role) -> Problem {
    let fix = format!("send `Authorization: Bearer <token>`; `spark token create NAME --role {role}` makes one");
    unauthorized(&format!("no token, and the role `{role}` is needed"), fix).with("role", role.as_str().into())
}

fn wrong() -> Problem {
    let fix = "`spark token ls` lists those that are known; `spark token create` makes one";
    unauthorized("the token is not known, was revoked, or is too old", fix.to_owned())
}

fn too_small(identity: &Identity, role: Role, what: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "role", "The token's role may not do this")
        .detail(format!("{what} takes the role `{role}`; the token of `{}` has `{}`", identity.name, identity.role))
        .fix(format!("use a token of that role: `spark token create NAME --role {role}` makes one"))
        .with("role", role.as_str().into())
}

fn switched_off(role: Role) -> Problem {
    let fix = format!(
        "`spark token create NAME --role {role}` makes one; or put a token of at least {TOKEN_CHARS_MIN} characters into a file \
         and name it in gateway.admin_token_file, or set {ADMIN_TOKEN_VARIABLE}, and restart the gateway"
    );
    Problem::new(StatusCode::FORBIDDEN, "no-token", "What needs a token is switched off")
        .detail("the gateway knows no token".to_owned())
        .fix(fix)
}

fn too_many_wrong() -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "wrong-tokens", "Too many wrong tokens")
        .detail("so many came from this address that the next one is not looked at yet".to_owned())
        .fix("try again in a few seconds with the right one".to_owned())
        .retry_after(3)
}

/// What a token is worth; nulls without one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Whoami")]
pub(super) struct Me<'a> {
    name: Option<&'a str>,
    role: Option<Role>,
    reading: &'static str,
}

/// `GET /api/whoami`: what the request's token is worth.
pub(super) async fn whoami(State(context): State<Context>, caller: Caller) -> Response {
    let identity = caller.identity();
    json(&Me {
        name: identity.map(|identity| identity.name.as_str()),
        role: identity.map(|identity| identity.role),
        reading: if context.app.config.reading_is_open() { "open" } else { "token" },
    })
}
