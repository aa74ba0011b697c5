//! Who sends: a source by its write key, an actor by a bearer token.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{ApiState, Problem};
use crate::model::Actor;

/// Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The write key in `Authorization: Basic base64(KEY:)`; the colon may be missing, a password is ignored.
pub(super) fn basic_write_key(headers: &HeaderMap) -> Option<String> {
    let decoded = BASE64.decode(credentials(headers, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let key = text.split(':').next().unwrap_or_default();
    (!key.is_empty()).then(|| key.to_owned())
}

fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let (given, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| credentials.trim())
}

impl FromRequestParts<Arc<ApiState>> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let token = credentials(&parts.headers, "bearer").ok_or_else(|| {
            Problem::unauthorized("missing_token", "this call needs `authorization: Bearer TOKEN`".to_owned())
        })?;
        // The token itself is never repeated: it may be right for another host.
        state.store.authenticate(token).ok_or_else(|| {
            let detail = "the bearer token is not known here; the operator's was printed at the first start";
            Problem::unauthorized("unknown_token", detail.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_key_is_read_from_basic_with_and_without_colon_and_padding() {
        let cases = [
            ("Basic a2V5Og==", Some("key")),
            ("basic a2V5Og", Some("key")),
            ("Basic a2V5", Some("key")),
            ("Basic a2V5OnB3", Some("key")),
            ("Basic Og==", None),
            ("Basic ???", None),
            ("Basic /w==", None),
            ("Basic", None),
            ("Bearer a2V5", None),
        ];
        for (value, key) in cases {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            assert_eq!(basic_write_key(&headers).as_deref(), key, "{value}");
        }
    }
}
