//! Typed, prefixed, time-sortable ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{ContextV7, Uuid};

use super::Timestamp;

/// Text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: expected `{prefix}` and 32 hexadecimal digits, as {} shows it", listing(kind))]
pub struct BadId {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

/// The command that lists things of a kind.
pub(crate) fn listing(kind: &str) -> String {
    match kind {
        "function version" => "`tidegate function versions NAME`".to_owned(),
        "invitation" => "`tidegate function invitations NAME`".to_owned(),
        _ => format!("`tidegate {} list`", kind.replace(' ', "-")),
    }
}

fn in_order(now: Timestamp) -> Uuid {
    thread_local! {
        static LAST: ContextV7 = const { ContextV7::new() };
    }
    let ms = now.as_millis();
    LAST.with(|last| Uuid::new_v7(uuid::Timestamp::from_unix(last, ms / 1000, (ms % 1000) as u32 * 1_000_000)))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// What the text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id (UUID v7). Of two that one thread makes, the later sorts after the earlier, also within a
            /// millisecond and if the clock was set back between them; the rest is random.
            pub fn new(now: Timestamp) -> Self {
                Self(in_order(now))
            }

            /// The id around this UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| BadId { text: text.chars().take(80).collect(), kind: $kind, prefix: $prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )*};
}

ids! {
    /// A customer's tenant.
    WorkspaceId "ws_" "workspace";
    /// Who publishes functions.
    PartnerId "prt_" "partner";
    /// Where a customer's events enter.
    SourceId "src_" "source";
    /// A partner's program, by name.
    FunctionId "fn_" "function";
    /// One immutable component of a function.
    VersionId "fnv_" "function version";
    /// A customer's configured use of a function.
    DestinationId "dst_" "destination";
    /// The edge from a source to a destination.
    ConnectionId "con_" "connection";
    /// One event owed to one destination. Deliveries that were accepted together share all but the
    /// last 16 bits, which hold the position, so a delivery is found without an index of its own.
    DeliveryId "dlv_" "delivery";
    /// A key for the control API.
    KeyId "key_" "key";
    /// What lets a customer without a key into one workspace for a while.
    LinkId "lnk_" "link";
    /// A key with which a partner signs uploads.
    SigningKeyId "sgk_" "signing key";
    /// One job that gives deliveries back to their destinations.
    ReplayId "rpl_" "replay";
    /// What an operator decides about a version of a function.
    ReviewId "rev_" "review";
    /// A link to a function in private beta.
    InvitationId "inv_" "invitation";
    /// A destination that customers miss.
    WishId "wsh_" "wish";
    /// A user of whom nothing is taken in or delivered.
    SuppressionId "sup_" "suppression";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_json_and_rejects_other_kinds() {
        let id = SourceId::new(Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<SourceId>(&json).unwrap(), id);
        assert!(id.to_string().parse::<DestinationId>().is_err());
        for bad in ["", "src_", "src_zz", &format!("{id}0")] {
            assert!(bad.parse::<SourceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let ids: Vec<_> = (1..500).map(|n| SourceId::new(Timestamp::from_millis(1000 + n / 100))).collect();
        assert!(ids.is_sorted());
    }
}
