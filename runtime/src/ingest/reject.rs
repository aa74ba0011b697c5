//! Why an event, or a whole request, is not taken. The first is counted and shown, the second is answered.

use std::fmt;

/// Why one event was dropped. The client gets `200` all the same: repeating it would not help.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Code {
    /// Neither `userId` nor `anonymousId`.
    NoUserAnonId,
    /// `groupId` of a group, or `userId` or `previousId` of an alias, is missing.
    IdRequired,
    /// An id is not a string.
    IdNotString,
    /// A track without `event`.
    EventNotDefined,
    /// `event` is not a string.
    EventNotString,
    /// `properties` is not an object.
    PropertiesNotObject,
    /// `traits` is not an object.
    TraitsNotObject,
    /// `name` is not a string.
    NameNotString,
    /// `category` is not a string.
    CategoryNotString,
    /// A batch of nothing.
    EmptyBatch,
    /// A batch of which nothing was left.
    EmptyBatchResult,
    /// The source is switched off.
    SourceDisabled,
    /// Not an object, or without a type that we know.
    BadRequest,
    /// A consent event without `context.consent.categoryPreferences`.
    ConsentShouldExist,
    /// `categoryPreferences` of a consent event is not an object.
    ConsentShouldBeObject,
    /// A category of a consent event is neither `true` nor `false`.
    ConsentShouldBeBool,
    /// `context.device.advertisingId` of a consent event is not a string.
    AdvertisingIdShouldBeString,
    /// `context.consent.version` of a consent event is not a number.
    ConsentVersionShouldBeNumber,
    /// Larger than an event may be.
    EventTooLarge,
    /// Part of a batch of more events than a batch may have.
    BatchTooLarge,
    /// `messageId` has 100 characters or more.
    MessageIdTooLong,
    /// Its user is suppressed.
    UserSuppressed,
}

impl Code {
    /// The stable spelling, the same that source debuggers of comparable systems show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoUserAnonId => "no_user_anon_id",
            Self::IdRequired => "id_required",
            Self::IdNotString => "id_not_string",
            Self::EventNotDefined => "event_not_defined",
            Self::EventNotString => "event_not_string",
            Self::PropertiesNotObject => "properties_not_object",
            Self::TraitsNotObject => "traits_not_object",
            Self::NameNotString => "name_not_string",
            Self::CategoryNotString => "category_not_string",
            Self::EmptyBatch => "empty_batch",
            Self::EmptyBatchResult => "empty_batch_result",
            Self::SourceDisabled => "source_disabled",
            Self::BadRequest => "bad_request",
            Self::ConsentShouldExist => "consent_categorypreferences_should_exist",
            Self::ConsentShouldBeObject => "consent_categorypreferences_should_be_object",
            Self::ConsentShouldBeBool => "consent_categorypreferences_fields_should_be_bool",
            Self::AdvertisingIdShouldBeString => "device_advertisingid_should_be_string",
            Self::ConsentVersionShouldBeNumber => "consent_version_should_be_number",
            Self::EventTooLarge => "event_too_large",
            Self::BatchTooLarge => "batch_too_large",
            Self::MessageIdTooLong => "message_id_too_long",
            Self::UserSuppressed => "user_suppressed",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a body was not taken at all. Nothing of it was stored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyError {
    /// More bytes than a body may have, after decompression.
    #[error(
        "the body has more than {limit} bytes, the most a request may have (`ingest.body_bytes`, counted after decompression): send smaller batches"
    )]
    TooLarge {
        /// The most it may have.
        limit: usize,
    },
    /// More bytes than its events may have together, with the batch's context in each.
    #[error(
        "the events of this batch, each with the batch's `context` and `integrations`, have more than {limit} bytes together (16 times `ingest.body_bytes`): send smaller batches, or a smaller context"
    )]
    TooLargeMerged {
        /// The most they may have.
        limit: usize,
    },
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// Arrays and objects nested too deeply.
    #[error("the body has arrays or objects nested more than {limit} levels deep: flatten the event")]
    TooDeep {
        /// The most levels.
        limit: usize,
    },
    /// JSON, but not of the shape that any client sends.
    #[error("the body is JSON but not an event or a batch: {0}")]
    NotAnEvent(&'static str),
    /// Said to be gzip, but is not.
    #[error("the body is not gzip, although `content-encoding` says so: {0}")]
    NotGzip(String),
}

impl BodyError {
    /// The stable code in the answer.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } | Self::TooLargeMerged { .. } => "body_too_large",
            Self::NotJson(_) | Self::TooDeep { .. } => "invalid_json",
            Self::NotAnEvent(_) => "invalid_body",
            Self::NotGzip(_) => "invalid_gzip",
        }
    }
}
