//! What a customer configures.

use std::collections::BTreeMap;

use tidegate_sdk::Settings;

#[derive(serde::Deserialize, Settings)]
pub struct Settings {
    /// The AWS region of the dataset group, such as eu-central-1
    #[setting(label = "Region", pattern = "[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")]
    pub region: String,
    /// Of a user that may do nothing but personalize:PutEvents and personalize:PutUsers
    #[setting(label = "Access key ID", pattern = "[A-Z0-9]{16,128}")]
    pub access_key_id: String,
    /// Belongs to the access key ID; it signs requests and is never sent
    #[setting(
        label = "Secret access key",
        secret,
        bind(origin = "https://personalize-events.{settings.region}.amazonaws.com", place = "sign-aws-sigv4"),
        bind(origin = "{settings.endpoint}", place = "sign-aws-sigv4")
    )]
    pub secret_access_key: String,
    /// Of the event tracker that records interactions
    #[setting(label = "Tracking ID", pattern = "[A-Za-z0-9-]{1,256}")]
    pub tracking_id: String,
    /// The ARN of the dataset of users; without one, identify events are not supported
    #[setting(label = "Users dataset", pattern = "arn:aws[a-z-]*:personalize:[a-z0-9-]+:[0-9]+:dataset/.+/USERS")]
    pub users_dataset_arn: Option<String>,
    /// The property that holds the item's id
    #[setting(label = "Item property", default = "product_id")]
    pub item_property: String,
    /// The property that holds the event's value, a number
    #[setting(label = "Value property", default = "value")]
    pub value_property: String,
    /// Which properties go to which fields of the interactions schema; others are not sent
    #[serde(default)]
    #[setting(label = "Interaction fields")]
    pub fields: BTreeMap<String, String>,
    /// Which traits go to which fields of the users schema; others are not sent
    #[serde(default)]
    #[setting(label = "User fields")]
    pub user_fields: BTreeMap<String, String>,
    /// Another origin with the same interface, such as an interface endpoint of your VPC
    #[setting(label = "Endpoint")]
    pub endpoint: Option<String>,
}

impl Settings {
    /// Where requests go, without a slash at the end.
    pub fn origin(&self) -> String {
        match self.endpoint.as_deref() {
            None | Some("") => format!("https://personalize-events.{}.amazonaws.com", self.region),
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        }
    }
}
