//! Fuzzing: every parser and boundary that a stranger reaches, with what it must hold beyond not panicking.
//!
//! Each target begins with the seeds in `tests/fuzz/TARGET/`, which are tried as they are (inputs that once broke something
//! stay there), and goes on with changes to them for a bounded time. `cargo xtask fuzz` runs longer. A failure says the
//! target, the seed of its randomness and the smallest input that was found.

mod mutation;
mod targets;
mod uploads;

use std::path::Path;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use mutation::Mutation;
use targets::Target;

/// How long one target is tried where nobody says: all of them together stay under half a minute on one processor.
const SECONDS: u64 = 3;

/// The seed of its randomness there: what passes once passes again. Who looks for more says for how long.
const SEED: u64 = 1;

/// No input may take longer, on however busy a machine.
const SLOWEST: Duration = Duration::from_secs(20);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`: it must be a number")))
}

/// The files of `tests/fuzz/TARGET/`; those in text form are assembled.
fn files(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seed", folder.display());
    let read = |path: &Path| match path.extension().is_some_and(|ending| ending == "wat") {
        true => wat::parse_file(path).unwrap_or_else(|error| panic!("{error}")),
        false => std::fs::read(path).expect("a file"),
    };
    paths.iter().map(|path| read(path)).collect()
}

fn tried(target: &Target, input: &[u8]) -> Result<(), TestCaseError> {
    let began = Instant::now();
    (target.run)(input);
    match began.elapsed() {
        time if time > SLOWEST => Err(TestCaseError::fail(format!("it took {} s", time.as_secs()))),
        _ => Ok(()),
    }
}

fn fuzz(target: &Target) {
    let mut seeds = files(target.name);
    seeds.extend((target.more_seeds)());
    for (at, seed) in seeds.iter().enumerate() {
        tried(target, seed).unwrap_or_else(|error| panic!("seed {at} of `{}`: {error}", target.name));
    }
    let seconds = number("TIDEGATE_FUZZ_SECONDS");
    let first = number("TIDEGATE_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(SEED, |_| rand_seed()));
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS));
    let (began, mut inputs) = (Instant::now(), 0_u64);
    for seed in (0_u64..).map(|round| first.wrapping_add(round)) {
        if began.elapsed() > time {
            break;
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            Config { cases: target.round, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let ran =
            runner.run(&Mutation::any(seeds.len()), |mutation| tried(target, &mutation.apply(&seeds, target.tokens)));
        inputs += u64::from(target.round);
        if let Err(TestError::Fail(why, mutation)) = ran {
            let input = mutation.apply(&seeds, target.tokens);
            let kept = std::env::temp_dir().join(format!("tidegate-fuzz-{}-{seed}", target.name));
            std::fs::write(&kept, &input).expect("a file");
            panic!(
                "`{}` with TIDEGATE_FUZZ_SEED={seed}: {why}\nthe input is in {}: {:.2000}",
                target.name,
                kept.display(),
                input.escape_ascii().to_string()
            );
        }
    }
    eprintln!("{}: {inputs} inputs from {} seeds, TIDEGATE_FUZZ_SEED={first}", target.name, seeds.len());
}

/// Another one for each run that somebody asks for.
fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

macro_rules! targets {
    ($($from:ident: $($name:ident)*;)*) => {$($(
        #[test]
        fn $name() {
            fuzz(&$from::$name());
        }
    )*)*};
}

targets! {
    targets: tracking manifests settings urls components requests gzip responses;
    uploads: secrets signatures cases scripts forms links;
}
