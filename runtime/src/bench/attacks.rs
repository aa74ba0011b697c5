//! Functions that attack the host that runs them, for `tidegate bench hostile` and `soak`. What becomes of each attack by
//! itself is tested from outside; here it is how much of them anybody else notices.

/// One attack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// Computes without end.
    Spin,
    /// Takes all the memory that it may, and writes to it.
    Grow,
    /// Calls the host until it may no more.
    HostCalls,
    /// Writes more log than is kept.
    Log,
    /// Asks a partner that never answers.
    SlowPartner,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Spin, Self::Grow, Self::HostCalls, Self::Log, Self::SlowPartner];

    /// Its function's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Grow => "grow-memory",
            Self::HostCalls => "host-calls",
            Self::Log => "log-flood",
            Self::SlowPartner => "slow-partner",
        }
    }

    /// Its function, which reaches this origin and no other.
    pub fn module(self, origin: &str) -> String {
        match self {
            Self::Spin => module("", "(loop $again (br $again)) (unreachable)", origin),
            Self::Grow => module(
                "",
                "(loop $again
                   (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then (br $again))))
                 (memory.fill (i32.const 65536) (i32.const 7) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
                 (unreachable)",
                origin,
            ),
            Self::HostCalls => module(CLOCK, "(loop $again (drop (call $now)) (br $again)) (unreachable)", origin),
            Self::Log => module(
                LOG,
                "(local $left i32)
                 (local.set $left (i32.const 900))
                 (loop $again
                   (call $log (i32.const 3) (i32.const 0) (i32.const 1024))
                   (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
                 (unreachable)",
                origin,
            ),
            Self::SlowPartner => poster(origin),
        }
    }
}

const CLOCK: &str = r#"(import "tidegate:destination/clock@0.1.0" "now" (func $now (result i64)))"#;
const LOG: &str = r#"(import "tidegate:destination/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
const RANDOM: &str = r#"(import "tidegate:destination/random@0.1.0" "bytes" (func $random (param i32 i32)))"#;
const SEND: &str = r#"(import "tidegate:destination/http@0.1.0" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
const START: &str = r#"(import "tidegate:destination/http@0.1.0" "start"
    (func $start (param i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

/// Where the texts for a request stand.
const METHOD: u32 = 2048;
const URL: u32 = 2052;

/// A module whose handler is this, with the origin in its memory and an allocator that never frees.
fn module(imports: &str, handler: &str, origin: &str) -> String {
    format!(
        r#"(module {imports}
        (memory (export "memory") 2)
        (global $free (mut i32) (i32.const 8192))
        (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
            (global.set $free (i32.add (local.get $at) (local.get $size)))
            (local.get $at))
        (data (i32.const {METHOD}) "POST{origin}")
        (func (export "tidegate:destination/handler@0.1.0#handle-event") (param $event i32) (result i32) {handler})
        (func (export "tidegate:destination/handler@0.1.0#handle-batch") (param i32 i32 i32 i32) (result i32)
            (i32.const 0)))"#
    )
}

/// What a call of `send` or `start` is given: the origin, and the event's message id as the body.
fn request(origin: &str) -> String {
    format!(
        "(i32.const {METHOD}) (i32.const 4) (i32.const {URL}) (i32.const {}) (i32.const 0) (i32.const 0)
         (i32.load (local.get $event)) (i32.load offset=4 (local.get $event)) (i32.const 4096)",
        origin.len()
    )
}

/// A function that posts each event's message id to an origin: the neighbour of an attack.
pub fn poster(origin: &str) -> String {
    module(SEND, &format!("(call $send {}) (i32.const 0)", request(origin)), origin)
}

/// A function that does as many things as its event's message id has bytes, each of another kind than the one before,
/// and then crashes.
pub fn crasher(origin: &str) -> String {
    let handler = format!(
        "(local $step i32)
         (loop $next
           (if (i32.ge_u (local.get $step) (i32.load offset=4 (local.get $event))) (then (unreachable)))
           (block $done
             (block $grow (block $ask (block $log (block $random (block $now
               (br_table $now $random $log $ask $grow (i32.rem_u (local.get $step) (i32.const 5))))
               (drop (call $now)) (br $done))
               (call $random (i32.const 100) (i32.const 4096)) (br $done))
               (call $log (i32.const 1) (i32.const 0) (i32.const 16)) (br $done))
               (call $start {}) (br $done))
             (drop (memory.grow (i32.const 1))))
           (local.set $step (i32.add (local.get $step) (i32.const 1)))
           (br $next))
         (unreachable)",
        request(origin)
    );
    module(&[CLOCK, RANDOM, LOG, START].concat(), &handler, origin)
}

/// A function of 200 KB, within every structural cap, for which the compiler would take gigabytes: thousands of variables
/// over thousands of branches. `number` makes it another one.
pub fn compile_bomb(number: usize) -> String {
    const LOCALS: usize = 3000;
    let step = |at: usize| {
        let [condition, to, one, other] = [at, at * 7, at * 13, at * 3].map(|number| number % LOCALS);
        format!(
            "(block (br_if 0 (local.get {condition}))
               (local.set {to} (i32.add (local.get {one}) (local.get {other}))))"
        )
    };
    let body: String = (number..number + 12_000).map(step).collect();
    let locals = "i32 ".repeat(LOCALS);
    let bomb = format!("(func (param i32) (local {locals}) (loop {body} (br_if 0 (local.get 0)))))");
    let module = module("", "(i32.const 0)", "");
    format!("{}{bomb}", module.trim_end().strip_suffix(')').unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::component_from_core;

    #[test]
    fn every_attack_is_a_function() {
        let origin = "http://127.0.0.1:9";
        let all = Attack::ALL.map(|attack| attack.module(origin));
        for text in all.into_iter().chain([poster(origin), crasher(origin), compile_bomb(1)]) {
            component_from_core(text.as_bytes(), "").unwrap_or_else(|error| panic!("{error}: {text:.300}"));
        }
    }
}
