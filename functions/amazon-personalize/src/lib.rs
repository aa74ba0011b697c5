//! Records interactions (PutEvents) and users (PutUsers) in Amazon Personalize.

mod interaction;
mod settings;

use tidegate_sdk::{
    Destination, Error, Event, EventType, Result, Value, batch, export,
    http::{Request, Response},
    json,
    sign::Aws,
};

use interaction::Session;
use settings::Settings;

/// Interactions or users in one request: what Personalize takes.
const AT_ONCE: usize = 10;

struct Personalize;

impl Destination for Personalize {
    type Settings = Settings;

    fn event(event: &Event, settings: &Settings) -> Result {
        match event.event_type {
            EventType::Identify => put_users(&[user(event, settings)?], settings),
            _ => {
                let (session, interaction) = interaction::interaction(event, settings)?;
                put_events(&session, &[interaction], settings)
            }
        }
    }

    fn batch(events: &[Event], settings: &Settings) -> Vec<Result> {
        let mut results: Vec<Result> = events.iter().map(|_| Ok(())).collect();
        let mut sessions: Vec<(Session, Vec<(usize, Value)>)> = Vec::new();
        let (users, others): (Vec<usize>, Vec<usize>) =
            (0..events.len()).partition(|place| events[*place].event_type == EventType::Identify);
        for place in others {
            match interaction::interaction(&events[place], settings) {
                Err(error) => results[place] = Err(error),
                Ok((session, interaction)) => match sessions.iter_mut().find(|(known, _)| *known == session) {
                    Some((_, interactions)) => interactions.push((place, interaction)),
                    None => sessions.push((session, vec![(place, interaction)])),
                },
            }
        }
        for (session, interactions) in sessions {
            for chunk in interactions.chunks(AT_ONCE) {
                let list: Vec<Value> = chunk.iter().map(|(_, interaction)| interaction.clone()).collect();
                let result = put_events(&session, &list, settings);
                chunk.iter().for_each(|(place, _)| results[*place] = result.clone());
            }
        }
        let identified: Vec<Event> = users.iter().map(|place| events[*place].clone()).collect();
        let prepare = |event: &Event| user(event, settings);
        let sent = batch::in_chunks(&identified, AT_ONCE, prepare, |users| put_users(users, settings));
        users.into_iter().zip(sent).for_each(|(place, result)| results[place] = result);
        results
    }
}

export!(Personalize);

fn user(event: &Event, settings: &Settings) -> Result<Value> {
    match settings.users_dataset_arn.as_deref() {
        None | Some("") => Err(Error::Unsupported),
        Some(_) => interaction::user(event, settings),
    }
}

fn put_users(users: &[Value], settings: &Settings) -> Result {
    post("/users", &json!({"datasetArn": settings.users_dataset_arn, "users": users}), settings)
}

fn put_events(session: &Session, interactions: &[Value], settings: &Settings) -> Result {
    let mut body = json!({"trackingId": settings.tracking_id, "sessionId": session.id, "eventList": interactions});
    if let Some(user) = &session.user {
        body["userId"] = json!(user);
    }
    post("/events", &body, settings)
}

fn post(path: &str, body: &Value, settings: &Settings) -> Result {
    let signer = Aws {
        access_key_id: &settings.access_key_id,
        secret_access_key: &settings.secret_access_key,
        region: &settings.region,
        service: "personalize",
    };
    let request = Request::post(format!("{}{path}", settings.origin())).json(body).sign_aws(&signer);
    understand(request.send()?)
}

/// AWS says what is wrong by a name more than by the status.
fn understand(response: Response) -> Result {
    let told = response.header("x-amzn-errortype").unwrap_or_default();
    let name = told.split(':').next().unwrap_or_default();
    let summary = format!("{} {}", name, response.summary()).trim().to_owned();
    match (response.status, name) {
        (200..=299, _) => Ok(()),
        (_, "ThrottlingException" | "ResourceInUseException" | "RequestTimeTooSkewed" | "RequestExpired") => {
            Err(Error::Retry { message: summary, after: response.retry_after() })
        }
        (404, _) | (_, "ResourceNotFoundException") => Err(Error::InvalidSettings(summary)),
        (401 | 403, _) => Err(Error::InvalidSettings(summary)),
        _ => response.success().map(drop),
    }
}
