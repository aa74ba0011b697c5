//! Where a function stands on its way to customers, and what is written down on that way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EventType, FunctionId, InvitationId, KeyId, PartnerId, ReviewId, Timestamp, VersionId, WishId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident $error:ident $what:literal { $($(#[$variant_doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        #[doc = concat!("Text that is no ", $what, ".")]
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("`{0}` is no {what}: there are {all}", what = $what, all = $name::ALL.map(|one| format!("`{one}`")).join(", "))]
        pub struct $error(String);

        impl $name {
            /// All of them, in order.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// Its name, as in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
                found.ok_or_else(|| $error(text.chars().take(40).collect()))
            }
        }
    };
}

words! {
    /// How far a function has come.
    Stage UnknownStage "stage" {
        /// Its partner works on it; nobody else sees it.
        Building "building",
        /// The operator looks at it; nobody else sees it.
        Submitted "submitted",
        /// Workspaces that were invited see it.
        PrivateBeta "private-beta",
        /// Everybody sees it, and that it is new.
        PublicBeta "public-beta",
        /// Everybody sees it.
        Public "public",
        /// Who runs it goes on; nobody else begins.
        Deprecated "deprecated",
    }
}

impl Stage {
    /// Whether customers may run it, and so only what was approved.
    pub const fn is_released(self) -> bool {
        match self {
            Self::Building | Self::Submitted => false,
            Self::PrivateBeta | Self::PublicBeta | Self::Public | Self::Deprecated => true,
        }
    }

    /// Whether a review can lead there.
    pub const fn is_reviewed(self) -> bool {
        matches!(self, Self::PrivateBeta | Self::PublicBeta | Self::Public)
    }

    /// Where a partner wants to go next who does not say it.
    pub const fn next(self) -> Self {
        match self {
            Self::Building | Self::Submitted => Self::PrivateBeta,
            Self::PrivateBeta => Self::PublicBeta,
            Self::PublicBeta | Self::Public | Self::Deprecated => Self::Public,
        }
    }
}

words! {
    /// What became of a review.
    ReviewState UnknownReviewState "state of a review" {
        /// Nobody has decided yet.
        Open "open",
        /// The version may be run by customers, and the function is where it wanted to be.
        Approved "approved",
        /// It may not, for the reason in the comments.
        Rejected "rejected",
        /// Its partner took it back.
        Withdrawn "withdrawn",
    }
}

/// What the host found when it tried a version, beside what is in its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Checks {
    /// What its author should look at.
    pub findings: Vec<String>,
    /// What became of the cases that came with it.
    pub cases: Vec<CaseResult>,
}

/// What became of one case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// The file.
    pub file: String,
    /// What it shows.
    pub name: String,
    /// The types of its events.
    pub events: Vec<EventType>,
    /// Whether the function did what is expected.
    pub passed: bool,
    /// How it differed.
    pub differences: Vec<String>,
}

/// One thing that must hold before a function is reviewed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckItem {
    /// What it is about.
    pub check: String,
    /// Whether it holds.
    pub ok: bool,
    /// What was found, and what to do where it does not hold.
    pub detail: String,
}

/// A version that is shown to the operator, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// Who asks.
    pub partner: PartnerId,
    /// For which function.
    pub function: FunctionId,
    /// That function's name.
    pub name: String,
    /// Which version was looked at.
    pub version: VersionId,
    /// That version's own text.
    pub number: String,
    /// Where the function is to be afterwards.
    pub stage: Stage,
    /// What became of it.
    pub state: ReviewState,
    /// What the host found when it was submitted.
    pub checklist: Vec<CheckItem>,
    /// What the version may do that no approved version may, in sentences.
    pub wider: Vec<String>,
    /// By which key.
    pub submitted_by: KeyId,
    /// When.
    pub submitted_at: Timestamp,
    /// By which key it was decided.
    pub decided_by: Option<KeyId>,
    /// When.
    pub decided_at: Option<Timestamp>,
}

/// What somebody said about a review.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Comment {
    /// Who: a key.
    pub key: KeyId,
    /// Its role then.
    pub role: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub text: String,
}

/// A link to a function in private beta, without its code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// To which function.
    pub function: FunctionId,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it invites nobody.
    pub expires_at: Option<Timestamp>,
    /// Since when it is taken back.
    pub revoked_at: Option<Timestamp>,
    /// How many workspaces it brought.
    pub redeemed: u64,
}

/// A destination that customers miss.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Wish {
    /// Its id.
    pub id: WishId,
    /// What it is for.
    pub name: String,
    /// When it was first wished for.
    pub created_at: Timestamp,
    /// How many workspaces wish for it.
    pub votes: u64,
    /// Whether the one that asks does.
    pub voted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_one_name_in_text_and_json_and_leads_further() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
            assert!(stage.next().is_reviewed());
            assert!(stage.next() > stage || stage >= Stage::Public, "{stage}");
        }
        assert!("secret".parse::<Stage>().unwrap_err().to_string().contains("`private-beta`"));
    }
}
