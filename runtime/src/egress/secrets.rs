//! What a guest holds instead of a secret, and whose value that stands for.
//!
//! A *handle* is a text that reads as a token: letters and digits behind a fixed prefix, so that it comes through paths,
//! JSON, forms and base64 as it is. A guest puts it where it would put the secret; the gate writes the value there (`fill`).
//!
//! Guarantees: the value of a secret that is not revealed is in no settings that a guest gets; a handle means something
//! for its own destination only, and cannot be guessed; what a server sends back is searched for the secrets that it was
//! given before the guest sees it; texts for people carry `{secret.NAME}` and neither handle nor value.
//!
//! Leaves to others: where values may go in a request (`fill`), how they look when they come back (`echo`).

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock, OnceLock},
};

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use memchr::memmem;
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    EgressError, InboundResponse,
    echo::{MARGIN, Search, TooMany},
    fill::{BASE64, Basic},
    origin::Origin,
    outlet::NO_HANDLE,
    policy::{AllowEntry, Opening, PolicyError},
};
use crate::model::{Manifest, Place, Secret};

/// What every handle begins with.
pub(super) const PREFIX: &str = "tgs_";
/// Looks for what may be a handle, in every part of every request.
static HANDLE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(PREFIX));
/// Bytes of randomness in a handle.
const RANDOM: usize = 16;
/// Bytes of a handle.
pub(super) const LENGTH: usize = PREFIX.len() + 2 * RANDOM;

/// What makes handles unguessable: who has it can tell which handle stands for which value.
pub struct HandleKey([u8; 32]);

impl HandleKey {
    /// A key that nobody knows.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The same key every time, so that a run can be repeated. For runs of one's own functions with one's own settings.
    pub const fn fixed() -> Self {
        Self([0; 32])
    }

    /// The handle of this value in this place: the same for as long as nothing of it changes.
    fn handle(&self, scope: &str, name: &str, value: &str) -> String {
        // Each with its length, so that no two sets of parts read alike.
        let part = |part: &str| [&(part.len() as u64).to_le_bytes()[..], part.as_bytes()].concat();
        let message = Zeroizing::new([part(scope), part(name), part(value)].concat());
        let digits = hmac(&self.0, &message);
        digits.iter().take(RANDOM).fold(PREFIX.to_owned(), |handle, byte| handle + &format!("{byte:02x}"))
    }
}

/// HMAC-SHA256.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length.
    let mut code = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC refuses no key"));
    code.update(message);
    code.finalize().into_bytes().into()
}

/// The secrets of one destination. Cheap to clone.
#[derive(Clone, Default)]
pub struct Secrets(Arc<All>);

#[derive(Default)]
struct All {
    held: Box<[Held]>,
    /// Made when the first text is searched: most destinations of a host are idle.
    search: OnceLock<Search>,
}

/// One of them.
pub(super) struct Held {
    pub(super) name: Box<str>,
    /// What people see in its place.
    shown: Box<str>,
    pub(super) handle: Box<str>,
    /// What the handle stands for. Where a path is meant and the setting begins with a slash, the guest gets that slash
    /// before the handle, so that it finds a path where it expects one.
    pub(super) value: Secret,
    pub(super) binds: Vec<Bound>,
    /// Whether the guest has the value itself.
    revealed: bool,
}

/// Where it may go.
pub(super) struct Bound {
    pub(super) entry: Box<str>,
    opening: Opening,
    pub(super) place: Place,
    pub(super) name: Option<Box<str>>,
}

impl Held {
    /// Whether this origin may be sent it, and the guest may not read it.
    fn is_for(&self, origin: &Origin) -> bool {
        !self.revealed && self.binds.iter().any(|bind| bind.opens(origin))
    }
}

impl Bound {
    pub(super) fn opens(&self, origin: &Origin) -> bool {
        self.opening.opens(origin)
    }
}

impl Secrets {
    /// Takes the secrets out of a destination's settings (defaults filled in) and leaves handles in their places; what is
    /// revealed stays. `scope` names for whom, as for a grant.
    ///
    /// # Errors
    /// An origin in a `bind` that the settings do not fit.
    pub fn take(
        manifest: &Manifest,
        settings: &mut Map<String, Value>,
        scope: &str,
        key: &HandleKey,
    ) -> Result<Self, PolicyError> {
        let mut held = Vec::new();
        for (name, setting) in manifest.settings.iter().filter(|(_, setting)| setting.secret) {
            let mut binds = Vec::with_capacity(setting.bind.len());
            for bind in &setting.bind {
                if let Some(opening) = AllowEntry::parse(&bind.origin)?.resolve(settings)? {
                    let name = bind.name.as_deref().map(|name| match bind.place {
                        Place::Header => name.to_ascii_lowercase().into(),
                        _ => name.into(),
                    });
                    binds.push(Bound { entry: bind.origin.as_str().into(), opening, place: bind.place, name });
                }
            }
            let Some(given) = settings.get_mut(name) else { continue };
            let value = match given {
                Value::String(text) if text.is_empty() => continue,
                Value::String(text) if setting.reveal => text.clone(),
                Value::String(text) => std::mem::take(text),
                // A secret is a text; whatever else is stored under its name is not given to anybody.
                other => {
                    *other = Value::Null;
                    continue;
                }
            };
            let in_path = setting.bind.iter().any(|bind| bind.place == Place::Path);
            let (slash, value) = match value.strip_prefix('/').filter(|rest| in_path && !rest.is_empty()) {
                Some(rest) => ("/", Secret::new(rest.to_owned())),
                None => ("", Secret::new(value)),
            };
            let handle = key.handle(scope, name, value.expose());
            if !setting.reveal {
                *given = Value::from(format!("{slash}{handle}"));
            }
            let shown = format!("{{secret.{name}}}").into();
            let (name, handle) = (name.as_str().into(), handle.into());
            held.push(Held { name, shown, handle, value, binds, revealed: setting.reveal });
        }
        // The longest first, so that a secret that contains another is replaced whole.
        held.sort_by_key(|held| std::cmp::Reverse(held.value.expose().len()));
        Ok(Self(Arc::new(All { held: held.into(), search: OnceLock::new() })))
    }

    fn held(&self) -> &[Held] {
        &self.0.held
    }

    fn search(&self) -> &Search {
        let all = &*self.0;
        all.search.get_or_init(|| Search::new(all.held.iter().map(|held| (held.value.expose(), &*held.handle))))
    }

    /// Whether there is none, as for most functions.
    pub fn is_empty(&self) -> bool {
        self.held().is_empty()
    }

    /// The handles in a text, each with the place where it begins. One pass.
    pub(super) fn find<'a>(&'a self, text: &[u8]) -> impl Iterator<Item = (usize, &'a Held)> {
        HANDLE.find_iter(text).filter_map(move |at| {
            let handle = text.get(at..at + LENGTH)?;
            Some((at, self.held().iter().find(|held| !held.revealed && held.handle.as_bytes() == handle)?))
        })
    }

    /// The name of one whose value begins in so many first bytes of a text.
    pub(super) fn begins_in(&self, text: &str, bytes: usize) -> Option<&str> {
        let text = &text.as_bytes()[..bytes.saturating_add(MARGIN).min(text.len())];
        // Where they are too many to be counted, the first of them is as good as any.
        let places = self.search().places(text, false, |_| true);
        let first = places.map_or(Some(0), |places| places.first(bytes));
        first.map(|number| &*self.held()[number].name)
    }

    /// The first one that this origin may be sent: then its answers are searched.
    pub(super) fn bound_to(&self, origin: &Origin) -> Option<&Held> {
        self.held().iter().find(|held| held.is_for(origin))
    }

    /// An answer as the guest may see it: with handles where the server repeated a secret. Only the secrets that this origin
    /// may be sent are looked for, so that no other server can try out what they are.
    ///
    /// # Errors
    /// It is encoded in a way that cannot be searched.
    pub(super) async fn masked(
        &self,
        from: &Origin,
        mut response: InboundResponse,
    ) -> Result<InboundResponse, EgressError> {
        if self.bound_to(from).is_none() {
            return Ok(response);
        }
        let coded = |(name, value): &&(String, String)| name == "content-encoding" && value != "identity";
        if response.headers.iter().any(|field| coded(&field)) {
            // Which one is not said: it is the server's text, and could be a secret.
            return Err(EgressError::Protocol(format!(
                "`{from}` answered in a content coding that was not asked for: an answer to a request that may carry a \
                 secret must be readable, to be searched for that secret"
            )));
        }
        let bound: Vec<bool> = self.held().iter().map(|held| held.is_for(from)).collect();
        let too_often = || {
            EgressError::Protocol(format!(
                "`{from}` repeated secrets so often that the answer with handles in their place would be too long"
            ))
        };
        if let Some(body) = self.with_handles(&bound, &response.body).await.map_err(|_| too_often())? {
            response.body = body.into();
            response.headers.retain(|(name, _)| name != "content-length");
        }
        for text in response.headers.iter_mut().flat_map(|(name, value)| [name, value]) {
            if let Some(masked) = self.with_handles(&bound, text.as_bytes()).await.map_err(|_| too_often())? {
                *text = String::from_utf8_lossy(&masked).into_owned();
            }
        }
        Ok(response)
    }

    /// A text with handles in the place of the secrets of these numbers; nothing if it has none of them. Between the steps of the search
    /// others have the processor, and whoever counts what it takes looks at the sum.
    async fn with_handles(&self, of: &[bool], text: &[u8]) -> Result<Option<Vec<u8>>, TooMany> {
        let mut searching = self.search().begin(text, false, |number| of[number]);
        while !searching.step()? {
            tokio::task::yield_now().await;
        }
        let most = grown(text.len());
        match searching.over().replaced(text, text.len(), |number| self.held()[number].handle.as_bytes(), most) {
            Some(text) if text.len() >= most => Err(TooMany),
            masked => Ok(masked),
        }
    }

    /// HMAC-SHA256 of a message, keyed with the secret of this handle.
    ///
    /// # Errors
    /// It is no handle, or that of a secret that is not bound to this.
    pub(super) fn hmac_sha256(&self, handle: &str, message: &[u8]) -> Result<[u8; 32], String> {
        let held = self.held().iter().find(|held| !held.revealed && *held.handle == *handle).ok_or(NO_HANDLE)?;
        if !held.binds.iter().any(|bind| bind.place == Place::SignHmacSha256) {
            return Err(format!(
                "the secret `{0}` may not key an HMAC: add the place `sign-hmac-sha256` to `bind` below `[settings.{0}]`",
                held.name
            ));
        }
        Ok(hmac(held.value.expose().as_bytes(), message))
    }

    /// The text as people may see it, in records, logs and reports.
    pub fn redacted<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        self.beginning(text, usize::MAX).unwrap_or(Cow::Borrowed(text))
    }

    /// What so many first bytes of a text look like to people, and nothing if there are no more. Of what follows no more is
    /// searched than tells whether a secret begins before that; one that does has its name there, whole.
    pub fn cut<'a>(&self, text: &'a [u8], most: usize) -> Option<Cow<'a, [u8]>> {
        (text.len() > most).then(|| self.beginning(text, most).unwrap_or(Cow::Borrowed(&text[..most])))
    }

    /// The beginning with names in it; nothing if it stays as it is.
    fn beginning<'a>(&self, text: &'a [u8], most: usize) -> Option<Cow<'a, [u8]>> {
        if self.is_empty() {
            return None;
        }
        let end = most.min(text.len());
        let text = &text[..most.saturating_add(MARGIN).min(text.len())];
        let shown = match self.search().places(text, true, |_| true) {
            Ok(places) => places.replaced(text, end, |number| self.held()[number].shown.as_bytes(), grown(end))?,
            Err(_) => b"(not shown: secrets stand in it too often)".to_vec(),
        };
        Some(Cow::Owned(shown))
    }

    /// The beginning of a text as people may see it, so many bytes at most: no secret that begins in it is cut in two.
    pub fn shown<'a>(&self, text: &'a str, most: usize) -> Cow<'a, str> {
        let kept = &text[..text.floor_char_boundary(most)];
        match self.beginning(text.as_bytes(), kept.len()) {
            Some(shown) => {
                let mut shown = String::from_utf8_lossy(&shown).into_owned();
                // Names are longer than the shortest secrets.
                shown.truncate(shown.floor_char_boundary(most));
                shown.into()
            }
            None => kept.into(),
        }
    }

    /// The same, with a sign where something is missing.
    pub(super) fn excerpt(&self, text: &str, most: usize) -> String {
        let more = if text.len() > most { "…" } else { "" };
        format!("{}{more}", self.shown(text, most))
    }

    /// The whole of a text as people may see it, in its place.
    pub fn redact(&self, text: &mut String) {
        if let Cow::Owned(shown) = self.redacted(text.as_bytes()) {
            *text = String::from_utf8_lossy(&shown).into_owned();
        }
    }

    /// The same for the value of an `authorization` header: what basic authentication puts into base64 is shown as it was
    /// before that, where it has a secret.
    pub fn redact_authorization(&self, value: &mut String) {
        if !self.is_empty()
            && let Some(Basic { scheme, encoded }) = Basic::of(value)
            && let Ok(plain) = BASE64.decode(encoded)
            && let Cow::Owned(shown) = self.redacted(&plain)
        {
            *value = format!("{scheme} {}", String::from_utf8_lossy(&shown));
        }
        self.redact(value);
    }
}

/// How long a text may become by what is put in the place of secrets: names and handles are longer than the shortest of them.
fn grown(bytes: usize) -> usize {
    bytes.saturating_mul(2).saturating_add(64 << 10)
}

#[cfg(test)]
mod tests;
