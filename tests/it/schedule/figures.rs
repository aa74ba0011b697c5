//! The figures that the project states of its deliveries: that one run prints each of them, whatever they are.

use std::process::Command;

use serde_json::Value;

use crate::host::{function, program};

/// All figures of one run, by their places in what is printed.
const FIGURES: &[&str] = &[
    "/destinations/1/delivered_per_s",
    "/destinations/1/calm/p50_ms",
    "/destinations/1/calm/p99_ms",
    "/destinations/10/delivered_per_s",
    "/destinations/10/calm/p50_ms",
    "/destinations/10/calm/p99_ms",
    "/destinations/100/delivered_per_s",
    "/destinations/100/calm/p50_ms",
    "/destinations/100/calm/p99_ms",
    "/throughput_100_to_1",
    "/one_of_100_hangs/p50_ratio",
    "/one_of_100_hangs/p99_ratio",
    "/overload/offered_to_greatest",
    "/overload/during/p50_ms",
    "/overload/during/p99_ms",
    "/overload/p50_during_ratio",
    "/overload/p99_during_ratio",
    "/overload/after/p50_ms",
    "/overload/after/p99_ms",
    "/overload/p99_after_ratio",
    "/overload/drained_to_work",
    "/replay_beside_live/replayed_per_s",
    "/replay_beside_live/live_alone/p99_ms",
    "/replay_beside_live/live_beside/p99_ms",
    "/replay_beside_live/p99_ratio",
    "/cold_start/start_to_first_delivery_ms",
    "/cold_start/highest_memory_mb",
    "/failing_destination/delivered_percent",
    "/failing_destination/virtual_hours",
];

#[test]
fn the_simulator_runs_the_seeds_that_are_asked_for_and_says_what_is_simulated() {
    let simulate = |args: &[&str]| {
        let program = Command::new(program()).args(["--output", "json", "bench", "simulate"]).args(args).output();
        let printed = program.unwrap();
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        serde_json::from_slice::<Value>(&printed.stdout).unwrap()
    };
    let (both, [first, second]) = (
        simulate(&["--first", "3", "--seeds", "2"]),
        ["3", "4"].map(|seed| simulate(&["--first", seed, "--seeds", "1"])),
    );
    for sum in ["/accepted", "/happenings", "/failing_destination/owed", "/failing_destination/delivered"] {
        let of = |printed: &Value| printed.pointer(sum).and_then(Value::as_u64).unwrap_or_else(|| panic!("no `{sum}`"));
        assert_eq!(of(&both), of(&first) + of(&second), "{sum}");
    }
    assert!(both["failing_destination"]["what"].as_str().unwrap().contains("virtual time"), "{both}");
}

#[test]
fn one_small_run_prints_every_figure_and_what_it_is_doing() {
    let printed = Command::new(program())
        .args(["--output", "json", "bench", "delivery", "--quick", "--deliveries", "100"])
        .arg(function("slack-rust"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&printed.stdout).unwrap();
    for figure in FIGURES {
        assert!(figures.pointer(figure).is_some_and(Value::is_number), "no `{figure}` in {figures:#}");
    }
    let (dead, pending) = (&figures["replay_beside_live"]["dead_letters"], &figures["cold_start"]["pending"]);
    for doing in [format!("{dead} dead letters"), format!("{pending} pending"), "hangs".to_owned()] {
        assert!(said.contains(&doing), "`{doing}` is not said: {said}");
    }
    let what = figures["failing_destination"]["what"].as_str().unwrap();
    assert!(what.contains("simulated") && what.contains("6.64 %"), "{what}");
}
