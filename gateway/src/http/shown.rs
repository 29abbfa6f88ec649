//! Conditional requests: a tag that follows from what is shown, so that whoever has it already is told so without rendering.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Context;
use crate::app::App;
use crate::view::revisions::Part;

/// Of one route: what it shows.
#[derive(Clone)]
pub(super) struct Shown {
    pub context: Context,
    pub parts: &'static [Part],
}

/// Answers 304 to who has it already; otherwise adds the tag. The tag is made before the answer: what changes in between is
/// told with the next request.
pub(super) async fn tag(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    let tag = entity_tag(&shown.context.app, shown.parts, request.uri().query().unwrap_or_default());
    // The query is in the tag: who has it has been answered, so the request is a right one. `*` says nothing of that.
    let any = names_any(request.headers());
    if !any && is_known(request.headers(), &tag) {
        return not_modified(tag);
    }
    let mut response = next.run(request).await;
    if response.status() == StatusCode::OK {
        if any {
            return not_modified(tag);
        }
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The tag of these parts as they are now. Answers do not depend on who asks, so it does not either.
fn entity_tag(app: &App, parts: &[Part], query: &str) -> HeaderValue {
    let view = app.view();
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    view.moment(parts, spark_nats::now()).hash(&mut hasher);
    weak(view.started_at().as_nanos(), view.revision_of(parts), hasher.finish())
}

/// `run` is the gateway's: revisions begin anew with it.
pub(crate) fn weak(run: i64, revision: u64, moment: u64) -> HeaderValue {
    // Hexadecimal digits and dashes always fit into a header.
    HeaderValue::from_str(&format!("W/\"{run:x}-{revision:x}-{moment:016x}\"")).unwrap_or(HeaderValue::from_static("W/\"\""))
}

/// Whether `If-None-Match` names the tag. Tags are compared weakly, as RFC 9110 asks for there.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    fn plain(tag: &[u8]) -> &[u8] {
        tag.strip_prefix(b"W/").unwrap_or(tag)
    }
    let tag = tag.as_bytes();
    let of_list = |value: &HeaderValue| {
        // The usual case first: one tag, as it was given out.
        value.as_bytes() == tag
            || value
                .as_bytes()
                .split(|byte| *byte == b',')
                .map(<[u8]>::trim_ascii)
                .any(|one| one == b"*" || plain(one) == plain(tag))
    };
    headers.get_all(header::IF_NONE_MATCH).iter().any(of_list)
}

/// Whether any answer at all will do.
fn names_any(headers: &HeaderMap) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| value.as_bytes().trim_ascii() == b"*")
}

/// Nothing but the tag.
pub(super) fn not_modified(tag: HeaderValue) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response()
}

/// An answer that never changes while the gateway runs, under its tag.
pub(super) fn fixed(method: &Method, headers: &HeaderMap, tag: &HeaderValue, answer: impl FnOnce() -> Response) -> Response {
    if (method == Method::GET || method == Method::HEAD) && is_known(headers, tag) {
        return not_modified(tag.clone());
    }
    let mut response = answer();
    response.headers_mut().insert(header::ETAG, tag.clone());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_in_any_list_and_whether_it_is_called_weak_or_not() {
        let tag = weak(1, 2, 3);
        assert_eq!(tag, "W/\"1-2-0000000000000003\"");
        let check = |value: &'static str, want: bool| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(is_known(&headers, &tag), want, "{value}");
        };
        check("W/\"1-2-0000000000000003\"", true);
        check("\"1-2-0000000000000003\"", true);
        check("\"x\", W/\"1-2-0000000000000003\"", true);
        check("*", true);
        check("\"1-2-0000000000000004\"", false);
        check("1-2-0000000000000003", false);
        check("", false);
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
