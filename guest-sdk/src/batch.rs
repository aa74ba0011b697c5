//! Several events in one request, where the partner takes so many at a time.

use crate::{Event, Result};

/// Prepares each event by itself, sends what was prepared in chunks of at most `most`, and gives one result for each
/// event, in their order: its own problem, or how its chunk's request ended.
///
/// ```no_run
/// use tidegate_sdk::{Destination, Event, Result, Value, batch, http::Request, json};
///
/// struct Example;
///
/// impl Destination for Example {
///     type Settings = Value;
///
///     fn batch(events: &[Event], _settings: &Value) -> Vec<Result> {
///         batch::in_chunks(
///             events,
///             100,
///             |event| Ok(json!({"id": event.message_id, "email": event.required("/properties/email")?})),
///             |rows| Request::post("https://api.example.com/rows").json(&rows).send()?.success().map(drop),
///         )
///     }
/// }
/// ```
///
/// Answer from [`Destination::batch`](crate::Destination::batch) yourself where the partner says which of the rows
/// it did not take.
///
/// # Panics
/// If `most` is 0.
pub fn in_chunks<T>(
    events: &[Event],
    most: usize,
    prepare: impl FnMut(&Event) -> Result<T>,
    mut send: impl FnMut(&[T]) -> Result,
) -> Vec<Result> {
    let (mut results, mut places, mut rows) = (Vec::with_capacity(events.len()), Vec::new(), Vec::new());
    for (place, prepared) in events.iter().map(prepare).enumerate() {
        results.push(prepared.map(|row| {
            places.push(place);
            rows.push(row);
        }));
    }
    for (places, rows) in places.chunks(most).zip(rows.chunks(most)) {
        let sent = send(rows);
        for place in places {
            results[*place] = sent.clone();
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, event::tests::event};

    #[test]
    fn each_event_has_the_result_of_its_own_chunk() {
        let events: Vec<Event> = (0..7).map(|n| event(&format!(r#"{{"properties": {{"n": {n}}}}}"#))).collect();
        let mut sent = Vec::new();
        let prepare = |event: &Event| match event.get("/properties/n").as_i64() {
            Some(2) => Err(Error::Unsupported),
            n => Ok(n.unwrap()),
        };
        let results = in_chunks(&events, 3, prepare, |rows| {
            sent.push(rows.to_vec());
            if rows.contains(&4) { Err(Error::retry("later")) } else { Ok(()) }
        });
        assert_eq!(sent, [vec![0, 1, 3], vec![4, 5, 6]]);
        let (ok, later) = (Ok(()), Err(Error::retry("later")));
        assert_eq!(results, [ok.clone(), ok.clone(), Err(Error::Unsupported), ok, later.clone(), later.clone(), later]);
    }
}
