//! The bytes of an event block: the events of one commit from one source, in one value.
//!
//! Guarantees: what was encoded decodes to the same, without copying the events' JSON; damaged bytes are an error, never a panic.
//!
//! Layout: a version byte, then for each event a `u32` length and a record: type byte, `u64` time, then message id, user id,
//! anonymous id and name as `u32` length and text (`u32::MAX`: absent); the rest is the JSON. Numbers are little-endian.

use bytes::Bytes;

use crate::model::{Event, EventType, Timestamp};

/// The first byte of every block that this version writes.
const VERSION: u8 = 1;
/// The length that stands for an absent text.
const ABSENT: u32 = u32::MAX;

/// Why a block cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBlock {
    #[error("its layout has version {0}, this program knows {VERSION}")]
    Version(u8),
    #[error("it ends too early")]
    Short,
    #[error("it has no event type {0}")]
    Type(u8),
    #[error("it has a text that is not UTF-8")]
    Text,
}

/// A block without events.
pub(super) fn empty() -> Vec<u8> {
    vec![VERSION]
}

/// The record of one event, with its length in front, to be appended to a block.
pub(super) fn record(event: &Event) -> Vec<u8> {
    let texts = [Some(&event.message_id), event.user_id.as_ref(), event.anonymous_id.as_ref(), event.name.as_ref()];
    let texts_len: usize = texts.iter().map(|text| 4 + text.map_or(0, |text| text.len())).sum();
    let mut out = Vec::with_capacity(4 + 9 + texts_len + event.json.len());
    out.extend_from_slice(&length(9 + texts_len + event.json.len()).to_le_bytes());
    out.push(event.event_type as u8);
    out.extend_from_slice(&event.received_at.as_millis().to_le_bytes());
    for text in texts {
        out.extend_from_slice(&text.map_or(ABSENT, |text| length(text.len())).to_le_bytes());
        out.extend_from_slice(text.map_or(&[], |text| text.as_bytes()));
    }
    out.extend_from_slice(&event.json);
    out
}

/// A length as it is written. Ingest bounds an event at 32 KB, so the bound here is never met.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(ABSENT - 1)
}

/// All events of a block.
pub(super) fn decode(block: &Bytes) -> Result<Vec<Event>, BadBlock> {
    let mut rest = body(block)?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        events.push(event(next(&mut rest)?)?);
    }
    Ok(events)
}

/// One event of a block, without decoding the others.
pub(super) fn nth(block: &Bytes, position: usize) -> Result<Event, BadBlock> {
    let mut rest = body(block)?;
    for _ in 0..position {
        next(&mut rest)?;
    }
    event(next(&mut rest)?)
}

fn body(block: &Bytes) -> Result<Bytes, BadBlock> {
    match block.first() {
        Some(&VERSION) => Ok(block.slice(1..)),
        Some(&other) => Err(BadBlock::Version(other)),
        None => Err(BadBlock::Short),
    }
}

/// Takes one length and that many bytes from the front.
fn next(rest: &mut Bytes) -> Result<Bytes, BadBlock> {
    let len = u32::from_le_bytes(*take(rest, 4)?.first_chunk().ok_or(BadBlock::Short)?);
    take(rest, len as usize)
}

fn take(rest: &mut Bytes, len: usize) -> Result<Bytes, BadBlock> {
    if len > rest.len() { Err(BadBlock::Short) } else { Ok(rest.split_to(len)) }
}

fn text(rest: &mut Bytes) -> Result<Option<String>, BadBlock> {
    let len = u32::from_le_bytes(*take(rest, 4)?.first_chunk().ok_or(BadBlock::Short)?);
    if len == ABSENT {
        return Ok(None);
    }
    String::from_utf8(take(rest, len as usize)?.into()).map(Some).map_err(|_| BadBlock::Text)
}

fn event(mut rest: Bytes) -> Result<Event, BadBlock> {
    let kind = take(&mut rest, 1)?[0];
    let event_type = EventType::ALL.get(usize::from(kind)).copied().ok_or(BadBlock::Type(kind))?;
    let received = u64::from_le_bytes(*take(&mut rest, 8)?.first_chunk().ok_or(BadBlock::Short)?);
    Ok(Event {
        message_id: text(&mut rest)?.ok_or(BadBlock::Short)?,
        event_type,
        user_id: text(&mut rest)?,
        anonymous_id: text(&mut rest)?,
        name: text(&mut rest)?,
        received_at: Timestamp::from_millis(received),
        json: rest,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_event()(
            message_id in ".{0,40}",
            kind in 0..EventType::ALL.len(),
            user_id in proptest::option::of(".{0,20}"),
            anonymous_id in proptest::option::of(".{0,20}"),
            name in proptest::option::of(".{0,20}"),
            at in 0..2_000_000_000_000_u64,
            json in proptest::collection::vec(any::<u8>(), 0..300),
        ) -> Event {
            Event {
                message_id, user_id, anonymous_id, name,
                event_type: EventType::ALL[kind],
                received_at: Timestamp::from_millis(at),
                json: json.into(),
            }
        }
    }

    fn encode(events: &[Event]) -> Bytes {
        let mut block = empty();
        events.iter().for_each(|event| block.extend(record(event)));
        block.into()
    }

    proptest! {
        #[test]
        fn a_block_decodes_to_what_was_encoded(events in proptest::collection::vec(any_event(), 0..20)) {
            let block = encode(&events);
            prop_assert_eq!(&decode(&block).unwrap(), &events);
            for (position, event) in events.iter().enumerate() {
                prop_assert_eq!(&nth(&block, position).unwrap(), event);
            }
            prop_assert!(nth(&block, events.len()).is_err());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), versioned: bool) {
            if versioned { bytes.insert(0, VERSION); }
            let block = Bytes::from(bytes);
            let _ = (decode(&block), nth(&block, 1));
        }

        #[test]
        fn a_block_cut_anywhere_inside_a_record_is_refused(event in any_event(), cut in 0.0..1.0_f64) {
            let block = encode(&[event]);
            let at = 1 + ((block.len() - 1) as f64 * cut) as usize;
            prop_assert_eq!(decode(&block.slice(..at)).is_err(), at != 1 && at != block.len());
        }
    }
}
