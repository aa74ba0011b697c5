//! JavaScript that attacks what carries it: the engine while a file is loaded, the prelude, the list that a batch returns.
//! Each attack ends as a refusal or an outcome of bounded length, and the next call finds a function that is whole.

use std::path::Path;

use tidegate::catalog::{self, BuildError};
use tidegate::model::EventType;

use crate::javascript::Function;

/// More than any message may have; what partners throw is cut below it.
const MESSAGE_BYTES: usize = 20_000;

/// Attacks on one call, chosen by the event's name; `onBatch` by that of its first.
const ATTACKS: &str = r#"
async function onTrack(event) {
  const nested = (open, close) => open.repeat(200_000) + close.repeat(200_000);
  switch (event.event) {
    case 'well': return;
    case 'deep JSON': return JSON.parse(nested('[', ']'));
    case 'deep pattern': return new RegExp(nested('(', ')'));
    case 'deep program': return eval(nested('(', ')'));
    case 'deep clone': { let deep = {}; for (let at = 0; at < 200_000; at++) deep = { deep }; return structuredClone(deep); }
    case 'backtracking': return /^(a+)+$/.test('a'.repeat(64) + 'b');
    case 'huge number': return 3n ** (2n ** 28n);
    case 'huge buffer': return new ArrayBuffer(2 ** 40);
    case 'text that loops': throw { name: 'ValidationError', message: { toString() { for (;;); } } };
    case 'name that loops': throw { get name() { for (;;); } };
    case 'waits forever': throw new RetryError('later', { afterMs: Number.MAX_VALUE });
    case 'waits for no time': throw new RetryError('later', { afterMs: NaN });
    case 'half a character': throw new ValidationError('\ud800'.repeat(9));
    case 'many rejections': for (;;) Promise.reject(new Error('one of many'));
    case 'many requests': for (;;) await fetch('https://partner.example/');
    case 'many timers': for (;;) setTimeout(() => {}, 1);
    case 'own ending': Array.prototype.filter = Array.prototype[Symbol.iterator] = undefined; throw new RetryError('as thrown');
  }
}
async function onBatch(events) {
  switch (events[0].event) {
    case 'too long': return new Array(2 ** 32 - 1).fill({ status: 200 }, 0, 3);
    case 'proxy': return new Proxy([], { get() { throw new Error('trap'); } });
    case 'getters': return events.map(() => ({ get status() { throw new Error('trap'); } }));
    case 'setters':
      Object.defineProperty(Array.prototype, 0, { set() {}, get() { return { case: 'delivered' }; } });
      return events.map(() => ({ status: 500 }));
    case 'endless': return { then(resolve) { resolve(this); } };
    case 'statuses': return [{ status: -1 }, { status: Infinity }, { status: {} }];
    case 'well': return events.map(() => ({ status: 200 }));
  }
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_one_call_end_as_outcomes_and_the_next_event_is_untouched() {
    let function = Function::build(ATTACKS).await;
    let bounded = ["limit_exceeded", "bad_request"];
    let expected = [
        ("deep JSON", &bounded[..], ""),
        ("deep pattern", &bounded, ""),
        ("deep program", &bounded, ""),
        ("deep clone", &bounded, ""),
        ("backtracking", &["limit_exceeded"], "CPU"),
        ("huge number", &bounded, ""),
        ("huge buffer", &bounded, ""),
        ("text that loops", &["limit_exceeded"], "CPU"),
        ("name that loops", &["limit_exceeded"], "CPU"),
        ("waits forever", &["retry"], "later"),
        ("waits for no time", &["retry"], "later"),
        ("half a character", &["message_rejected"], "\u{FFFD}"),
        ("many rejections", &bounded, ""),
        ("many requests", &bounded, ""),
        ("many timers", &bounded, ""),
        ("own ending", &["retry"], "as thrown"),
    ];
    for (name, codes, message) in expected {
        let report = function.track(name).await;
        let (code, found) =
            (report["outcome"]["code"].as_str().unwrap(), report["outcome"]["message"].as_str().unwrap());
        assert!(codes.contains(&code) && found.contains(message) && found.len() < MESSAGE_BYTES, "{name}: {report}");
        let next = function.track("well").await;
        assert_eq!(next["outcome"]["code"], "delivered", "after {name}: {next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_a_batch_end_every_event_of_it_and_the_next_batch_is_untouched() {
    let function = Function::build(ATTACKS).await;
    for name in ["too long", "proxy", "getters", "setters", "endless", "statuses"] {
        for report in function.tracked(&[name, name, name], true).await {
            let outcome = &report["outcome"];
            assert_ne!(outcome["code"], "delivered", "{name}: {report}");
            assert!(outcome["message"].as_str().unwrap().len() < MESSAGE_BYTES, "{name}: {report}");
        }
        for next in function.tracked(&["well", "well"], true).await {
            assert_eq!(next["outcome"]["code"], "delivered", "after {name}: {next}");
        }
    }
}

#[test]
fn attacks_while_a_file_is_loaded_end_as_a_refusal() {
    let attacks = [
        "(".repeat(200_000),
        "[".repeat(200_000) + &"]".repeat(200_000),
        "a.".repeat(200_000),
        "Object.defineProperty(globalThis, 'onTrack', { get() { for (;;); } });".to_owned(),
        "const error = new Error('m'); Object.defineProperty(error, 'stack', { get() { for (;;); } }); throw error;"
            .to_owned(),
        "const error = new Error('m'); Object.defineProperty(error, 'stack', { get() { throw error; } }); throw error;"
            .to_owned(),
        "const error = new Error('m'.repeat(1 << 20)); error.name = 'n'.repeat(1 << 20); throw error;".to_owned(),
        "throw new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } });".to_owned(),
        "(function again() { Promise.resolve().then(again); })(); function onTrack() {}".to_owned(),
        "new ArrayBuffer(2 ** 40);".to_owned(),
    ];
    for source in attacks {
        let shown = &source[..source.len().min(100)];
        let Err(error) = catalog::build::build_source(&source, Path::new("handler.js"), None) else {
            panic!("{shown}")
        };
        assert!(matches!(error, BuildError::JavaScript(_)), "{shown}: {error}");
        assert!(error.to_string().len() < MESSAGE_BYTES, "{shown}: {} bytes", error.to_string().len());
    }
}

/// The list of handlers comes out of the partner's world, like everything else that the engine says of a file.
#[test]
fn a_file_cannot_make_up_handlers() {
    for made_up in ["'x'", "''", "'é'", "'onEvil'", "7", "{}"] {
        let source = format!("Array.prototype.filter = () => [{made_up}]; function onTrack() {{}}");
        match catalog::build::build_source(&source, Path::new("handler.js"), None) {
            Ok(built) => assert_eq!(built.manifest.events, [EventType::Track], "{made_up}"),
            Err(error) => assert!(matches!(error, BuildError::JavaScript(_)), "{made_up}: {error}"),
        }
    }
}
